import sys
import types

import pytest
import torch


@pytest.fixture
def node_host(pack):
    return sys.modules[f"{pack.__name__}.nodes.host"]


@pytest.fixture
def said(monkeypatch):
    """Lines that a server would show: (node, text)."""
    lines = []
    instance = types.SimpleNamespace(
        send_progress_text=lambda text, node_id: lines.append((node_id, text))
    )
    server = types.ModuleType("server")
    server.PromptServer = types.SimpleNamespace(instance=instance)
    monkeypatch.setitem(sys.modules, "server", server)
    return lines


def run_through(observer, steps: int = 2) -> None:
    for stage in ("encode", "text", "sample"):
        observer.stage(stage)
    for done in range(1, steps + 1):
        observer.step(done, steps, lambda: torch.zeros(3, 4, 4))
    observer.stage("decode")


def test_every_stage_of_the_pipeline_is_said_in_its_order(node_host, said, host):
    run_through(node_host.ComfyObserver("7"))
    assert said == [
        ("7", "Encoding the given layers"),
        ("7", "Reading the prompts"),
        ("7", "Sampling"),
        ("7", "Sampling: step 1 of 2"),
        ("7", "Sampling: step 2 of 2"),
        ("7", "Decoding"),
    ]


def test_the_bar_rises_and_is_not_full_while_something_is_left(node_host, said, host):
    run_through(node_host.ComfyObserver("7"), 10)
    values = [value for value, _, _ in host.progress]
    assert values == sorted(values) and len(set(values)) == 10
    assert values[-1] < host.progress[-1][1], "decoding is left"


def test_without_a_server_or_a_node_nothing_is_said(node_host, said, host, monkeypatch):
    node_host.ComfyObserver(None).stage("text")
    monkeypatch.setitem(sys.modules, "server", None)
    node_host.ComfyObserver("7").stage("text")
    assert said == []
