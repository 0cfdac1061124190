"""MeasureLayers on a real server, and what a person sees of it in a real browser."""

import json

import pytest

from .browser import chromium, open_page, run_and_wait
from .comfy_server import PACK, error_of

ARTIFACTS = PACK / "tests" / "artifacts"
GRAPH = {
    "1": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 8}},
    "2": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 9}},
    "3": {
        "class_type": "MeasureLayers",
        "inputs": {"layers": ["1", 8], "truth": ["2", 8], "choose_by": "alpha_mad"},
    },
    "4": {
        "class_type": "MeasureLayers",
        "inputs": {
            "layers": ["2", 8],
            "rival": ["3", 0],
            "truth": ["2", 8],
            "choose_by": "alpha_mad",
        },
    },
}


def test_figures_and_chart_are_in_the_history(server):
    entry = server.run(GRAPH)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    outputs = entry["outputs"]
    (text,) = outputs["3"]["layerflow_figures"]
    assert "alpha_mad: " in text and "background_hidden_psnr: " in text
    assert "alpha_mad: 0.000" in outputs["4"]["layerflow_figures"][0]
    assert outputs["3"]["images"][0]["type"] == "temp"


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_figures_and_chart_are_on_the_node(server, checkout):
    with open_page(server, 1700, 1400) as page:
        graph = json.loads(json.dumps(GRAPH))
        graph["1"]["inputs"]["seed"] = 10  # a run that no test has cached
        page.evaluate("async (graph) => { await app.loadApiJson(graph, 'measures') }", graph)
        page.wait_for_timeout(1000)
        entry = run_and_wait(page, server)
        assert entry["status"]["status_str"] == "success", error_of(entry)
        texts = page.locator(".layerflow-figures").all_inner_texts()
        assert len(texts) == 2 and all("recomposition_psnr: " in text for text in texts)
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=str(ARTIFACTS / f"{checkout.name}-measures.png"))
