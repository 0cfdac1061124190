"""The templates in a real browser: they open whole, run by the Run button and show what they made."""

import json

import pytest

from .browser import (
    chromium,
    missing_nodes,
    new_page,
    open_graph,
    open_help,
    open_page,
    run_and_wait,
    show_node,
)
from .comfy_server import PACK, error_of
from .conftest import GRAPHS

SAVED = {"collect_layer_clip": 3, "edit_one_layer": 4, "move_and_save_layers": 2}
WITHOUT_IMAGES = ("edit_one_layer", "move_and_save_layers")
OLD_GRAPHS = sorted((PACK / "tests" / "data" / "old_graphs").glob("*.json"))
ARTIFACTS = PACK / "tests" / "artifacts"

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def page(server):
    with open_page(server) as opened:
        yield opened


@pytest.mark.parametrize("name", GRAPHS)
def test_template_opens_runs_and_shows(server, page, checkout, name):
    open_graph(page, json.loads((PACK / "workflows" / f"{name}.json").read_text()))
    assert missing_nodes(page) == []
    entry = run_and_wait(page, server)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTIFACTS / f"{checkout.name}-{name}.png"))
    assert entry["status"]["status_str"] == "success", error_of(entry)
    assert len(server.saved(entry)) == SAVED.get(name, 4)
    if name != "collect_layer_clip":
        page.wait_for_function(
            "app.graph._nodes.filter(n => n.type === 'PreviewLayers').every(n => n.layerflowPlayer.frames?.peek(0))"
        )
    if name in WITHOUT_IMAGES:
        return
    shown = page.evaluate(
        "app.graph._nodes.filter(n => n.type === 'SaveAnimatedWEBP' && (n.imgs?.length || "
        "document.querySelector(`[data-node-id='${n.id}'] img`))).length"
    )
    assert shown == 3


@pytest.mark.parametrize("path", OLD_GRAPHS, ids=lambda path: path.stem)
def test_a_graph_saved_by_an_earlier_version_still_runs(server, page, path):
    """Templates saved before inputs and widgets were added, with fewer steps; what they lack gets its default."""
    open_graph(page, json.loads(path.read_text()))
    assert missing_nodes(page) == []
    entry = run_and_wait(page, server)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    assert server.saved(entry)


def test_templates_are_offered_with_thumbnails(server):
    offered = server.get("/workflow_templates")
    assert set(GRAPHS) <= set(offered["ComfyUI-LayerFlow"])
    for name in GRAPHS:
        assert (PACK / "workflows" / f"{name}.jpg").stat().st_size > 2000


def test_help_pages_open(server, page, checkout):
    own = new_page(page.context.browser, server, 1800, 1000)
    own.wait_for_timeout(3000)  # the frontend's own first graph comes late
    for help_page in sorted((PACK / "web" / "docs").glob("*.md")):
        show_node(own, help_page.stem, (900, 300))  # clear of the panels
        title = help_page.read_text().splitlines()[0].removeprefix("# ")
        own.wait_for_function(
            "(text) => !document.querySelector('.node-help-content')?.innerText.includes(text)",
            arg=title,
        )
        assert open_help(own).startswith(title)
        own.screenshot(path=str(ARTIFACTS / f"{checkout.name}-help.png"))
    own.close()
