"""Parts under ComfyUI's own loader, on a card that is not there; see ``tests/fake_card/comfy_loader.py``."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.comfy_server import checkouts, interpreter

SCRIPT = Path(__file__).parents[1] / "fake_card" / "comfy_loader.py"
WHOLE = "whole on the device"


def all_checkouts():
    """Those of the end-to-end tests, and other versions of ComfyUI beside the first one: this takes seconds."""
    found = checkouts()
    if os.environ.get("COMFYUI_DIR") or not found:
        return found
    beside = sorted(found[0].parent.glob("ComfyUI*/main.py"))
    return [*found, *(main.parent for main in beside if main.parent not in found)]


FOUND = all_checkouts()


@pytest.fixture(scope="module", params=FOUND or [None], ids=lambda path: path and path.name)
def report(request):
    if request.param is None:
        pytest.skip("no ComfyUI checkout found: set COMFYUI_DIR")
    environment = {**os.environ, "PYTHONPATH": str(request.param)}
    command = [interpreter(request.param), str(SCRIPT)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, cwd=request.param
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_part_is_whole_on_the_card_or_under_a_plan_that_is_not(report):
    """ComfyUI's own budget left weights behind in 15 of these cases."""
    assert len(report["cases"]) == 20
    for case in report["cases"]:
        fetched = "block by block" in case["plan"]
        expected = 0 if fetched or "CPU" in case["plan"] else case["size"]
        assert case["there"] == pytest.approx(expected, abs=1e-3), case


def test_what_comfyui_reserves_and_its_flags_decide(report):
    plans = {case["title"]: case["plan"] for case in report["cases"]}
    assert plans["24 GB, transformer"] == f"{WHOLE}, both branches at once"
    assert plans["24 GB, transformer, --lowvram"] == f"{WHOLE}, both branches at once"
    assert plans["24 GB, transformer, --novram"].startswith("block by block")
    assert plans["12 GB, transformer, --reserve-vram 2"].startswith("block by block")
    assert plans["8 GB, transformer, just fits"] == f"{WHOLE}, one branch at a time"
    assert plans["12 GB, T5, just fits"] == "block by block"
    assert "on the CPU" in plans["2 GB, VAE in tiles"]


def test_a_loader_that_leaves_something_behind_means_the_next_plan(report):
    assert report["loader_that_leaves_a_block"].startswith("block by block")


def test_an_error_while_loading_leaves_nothing_on_the_card(report):
    after = report["error_while_loading"]
    assert after == {"there": 0, "entries": 0, "plan": f"{WHOLE}, both branches at once"}


def test_a_model_that_is_gone_is_not_asked(report):
    assert report["dead_entry"] == 4


def test_parts_stay_until_others_need_the_room_and_are_dropped(report):
    stay = report["parts_that_stay"]
    assert stay["seen"] == [[3.3, 0], [3.3, 0], [0, 8.9], [3.3, 0]]
    assert stay["originals are back"]


def test_flags_choose_the_device_of_one_kind_of_part(report):
    assert report["flags"] == {
        "none": ["meta", "meta", "meta"],
        "--lowvram": ["meta", "cpu", "meta"],
        "--novram": ["meta", "cpu", "meta"],
        "--cpu-vae": ["meta", "meta", "cpu"],
    }
