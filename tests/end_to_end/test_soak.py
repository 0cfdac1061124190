"""Many mixed runs with random cancels on one server: nothing fails, nothing grows.

``LAYERFLOW_SOAK_RUNS`` is how many: 24 by default, 150 for the figure in the notes.
"""

import os
import random
import time

import psutil
import pytest

from .comfy_server import error_of
from .conftest import GRAPHS, load_graph

RUNS = int(os.environ.get("LAYERFLOW_SOAK_RUNS", "24"))
SETTLED = 10  # runs after which memory is what it stays
LARGEST_GROWTH = 1.05 if RUNS >= 100 else 1.5  # a short soak's peaks weigh more
PREVIEWS = 40  # folders: 20 runs, some with two players


def make_run(name: str, seed: int) -> dict:
    """A template with another seed, on few steps."""
    graph = load_graph(name)
    for node in graph.values():
        for key in ("seed", "noise_seed"):
            if isinstance(node["inputs"].get(key), int):
                node["inputs"][key] = seed
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 3
    return graph


def memory_of(server) -> int:
    return psutil.Process(server.process.pid).memory_info().rss


def was_cancelled(entry: dict) -> bool:
    return any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])


@pytest.mark.skipif(not GRAPHS, reason="no templates")
def test_mixed_runs_with_cancels_neither_fail_nor_grow(server):
    chance = random.Random(0)
    settled = 0
    cancelled = 0
    for number in range(RUNS):
        prompt_id = server.queue(make_run(chance.choice(GRAPHS), number))
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0.05, 2.0))
            server.post("/interrupt", {})
        entry = server.wait(prompt_id)
        if was_cancelled(entry):
            cancelled += 1
        else:
            assert entry["status"]["status_str"] == "success", error_of(entry)
        if number + 1 == SETTLED:
            settled = memory_of(server)
    growth = memory_of(server) / settled
    print(
        f"{RUNS} runs, {cancelled} cancelled, memory at the end {growth:.3f} of that after {SETTLED}"
    )
    assert growth <= LARGEST_GROWTH
    previews = list((server.base / "temp" / "layerflow_preview").iterdir())
    assert len(previews) <= PREVIEWS
