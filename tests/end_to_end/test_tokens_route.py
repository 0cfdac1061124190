"""The route that counts tokens, under abuse."""

import http.client
import json
import threading
import time
from urllib.parse import urlparse

import pytest


def post(server, body: bytes) -> tuple[int, dict]:
    connection = http.client.HTTPConnection(urlparse(server.url).netloc, timeout=60)
    try:
        connection.request("POST", "/layerflow/tokens", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b"",
        b'{"texts": ["\\ud800"]}',
        b'{"texts": [3]}',
        json.dumps({"texts": ["x" * 100_000] * 8}).encode(),
        b'{"texts": ["a dog"], "checkpoint": 3}',
        b'{"texts": ["a dog"], "checkpoint": "none.safetensors"}',
        b'{"texts": ["a dog"], "checkpoint": "../../main.py"}',
        json.dumps({"texts": ["a dog"], "checkpoint": "x" * 10_000}).encode(),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_does_not_fit_is_a_client_error(server, body):
    status, answer = post(server, body)
    assert status == 400
    assert answer["error"]


def test_prompts_are_counted_as_the_connected_checkpoint_reads_them(server):
    """The embedded one knows few words, the second request finds it read already."""
    texts = ["a blue solid circle moving right", "", "word " * 400]
    alone = post(server, json.dumps({"texts": texts}).encode())
    assert alone[0] == 200 and alone[1]["segment"] == 226
    request = json.dumps({"texts": texts, "checkpoint": "embedded (procedural world)"}).encode()
    for _ in range(2):
        status, answer = post(server, request)
        assert status == 200 and answer["segment"] == 16
        assert 4 < answer["counts"][0] <= 16 and answer["counts"][1] == 0
        assert answer["counts"][2] > 400


def test_large_requests_hold_nothing_up(server):
    counted = post(server, json.dumps({"texts": ["a dog", "word " * 12_000]}).encode())
    assert counted[0] == 200 and counted[1]["counts"][1] > 226

    def flood():
        for _ in range(5):
            try:
                post(server, b'{"texts": ["' + b"x" * 40_000_000)
            except (ConnectionError, http.client.HTTPException):
                pass  # the server need not read to the end

    thread = threading.Thread(target=flood)
    thread.start()
    longest = 0.0
    while thread.is_alive():
        begun = time.perf_counter()
        server.get("/system_stats")
        longest = max(longest, time.perf_counter() - begun)
    assert longest < 2
