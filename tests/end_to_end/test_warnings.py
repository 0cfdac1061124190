"""What a person sees of warnings and errors, in a real browser."""

import json

import pytest

from .browser import chromium, open_graph, open_page, run_and_wait
from .comfy_server import PACK, error_of
from .conftest import load_graph

ARTIFACTS = PACK / "tests" / "artifacts"
LONG_PROMPT = "a red solid circle moving right " * 40

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def page(server):
    with open_page(server, 1800, 1000) as opened:
        yield opened


def set_widget(page, node_type: str, widget: str, value) -> None:
    page.evaluate(
        """([type, name, value]) => {
          const node = app.graph._nodes.find((candidate) => candidate.type === type);
          node.widgets.find((candidate) => candidate.name === name).value = value;
        }""",
        [node_type, widget, value],
    )


def test_a_warning_is_shown_on_the_node_and_goes_with_its_cause(server, page, checkout):
    open_graph(page, json.loads((PACK / "workflows" / "generate.json").read_text()))
    set_widget(page, "LayerPrompts", "foreground", LONG_PROMPT)
    entry = run_and_wait(page, server)
    assert entry["status"]["status_str"] == "success", error_of(entry)

    box = page.locator(".layerflow-warnings").first
    assert "the prompt for foreground has" in box.inner_text()
    assert page.locator(".p-toast-message-warn").count() > 0
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTIFACTS / f"{checkout.name}-warning.png"))

    set_widget(page, "LayerPrompts", "foreground", "a red solid circle moving right")
    run_and_wait(page, server)
    assert box.inner_text() == ""


def test_an_error_stands_on_the_node_and_goes_with_its_cause(server, page, checkout):
    arrangement = "not a list"
    graph = {
        "1": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 8}},
        "2": {
            "class_type": "PreviewLayers",
            "inputs": {"layers": ["1", 8], "longest_side": 720, "bake": True},
        },
    }
    page.evaluate("async (graph) => { await app.loadApiJson(graph, 'error') }", graph)
    page.wait_for_timeout(1000)
    set_widget(page, "PreviewLayers", "arrangement", arrangement)
    entry = run_and_wait(page, server)
    assert "arrangement" in error_of(entry)
    page.keyboard.press("Escape")
    box = page.locator(".layerflow-warnings").first
    assert "arrangement" in box.inner_text()
    assert box.evaluate("box => getComputedStyle(box).color") == "rgb(255, 107, 107)"
    page.screenshot(path=str(ARTIFACTS / f"{checkout.name}-error.png"))

    set_widget(page, "PreviewLayers", "arrangement", "")
    run_and_wait(page, server)
    assert box.inner_text() == ""


def test_wires_have_colours_of_their_own(page):
    for table in ("LGraphCanvas.link_type_colors", "app.canvas.default_connection_color_byType"):
        colours = page.evaluate(table)
        own = [value for name, value in colours.items() if name.startswith("LAYERFLOW_") and value]
        assert len(set(own)) == 4, table


def test_warnings_are_in_the_history_for_users_of_the_api(server):
    graph = load_graph("generate")
    prompts = next(node for node in graph.values() if node["class_type"] == "LayerPrompts")
    prompts["inputs"]["foreground"] = LONG_PROMPT
    sampler = next(node for node in graph.values() if node["class_type"] == "LayerSampler")
    sampler["inputs"]["seed"] = 4711  # a run that no test has cached
    entry = server.run(graph)
    texts = [
        text
        for output in entry["outputs"].values()
        for text in output.get("layerflow_warnings", [])
    ]
    assert any("the rest is cut" in text for text in texts)


def test_the_type_of_an_error_is_short(server):
    graph = load_graph("generate")
    prompts = next(node for node in graph.values() if node["class_type"] == "LayerPrompts")
    prompts["inputs"] |= {"foreground": "", "background": "", "blended": ""}
    assert error_of(server.run(graph)).startswith("LayerFlow: got no prompts")
