"""Patterns in names, replaced by the browser as for ComfyUI's own save nodes."""

import time

import pytest

from .browser import chromium, open_page, run_and_wait
from .comfy_server import error_of

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here")

GRAPH = {
    "1": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 77}, "_meta": {"title": "Clip"}},
    "2": {
        "class_type": "SaveLayers",
        "inputs": {
            "layers": ["1", 8],
            "filename_prefix": "%date:yyyy-MM-dd%/shot_%Clip.seed%",
            "format": "PNG 8 bit",
            "opaque": "none",
            "alpha": "straight",
            "fps": 0.0,
            "frame": 0,
        },
    },
}


def test_dates_and_widgets_of_other_nodes_are_filled_in(server):
    with open_page(server, 1600, 900) as page:
        page.evaluate("async (graph) => { await app.loadApiJson(graph, 'patterns') }", GRAPH)
        page.wait_for_timeout(1500)
        page.evaluate(
            "app.graph._nodes.find((node) => node.type === 'LayerFlowSampleClip').title = 'Clip'"
        )
        entry = run_and_wait(page, server)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    today = time.strftime("%Y-%m-%d")
    assert (server.base / "output" / today / "shot_77_00001").is_dir()
