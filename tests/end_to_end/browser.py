"""A real browser on a real frontend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from .comfy_server import Server

RUN_BUTTONS = ("button[data-testid='queue-button']", "[data-testid='queue-button'] button")
LOAD_MS, RUN_MS = 90_000, 400_000


def chromium() -> str | None:
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@contextmanager
def open_page(server: Server, width: int = 2600, height: int = 1200) -> Iterator:
    """A page with the frontend ready and this pack's nodes registered."""
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        try:
            yield new_page(browser, server, width, height)
        finally:
            browser.close()


def new_page(browser, server: Server, width: int = 2600, height: int = 1200):
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(server.url)
    page.wait_for_function(
        "window.app?.graph && window.LiteGraph && 'LoadLayerFlow' in LiteGraph.registered_node_types",
        timeout=LOAD_MS,
    )
    return page


def open_graph(page, graph: dict) -> None:
    """Load a UI graph and fit it into the window."""
    page.evaluate("async (graph) => { await app.loadGraphData(graph) }", graph)
    page.wait_for_timeout(1000)
    page.keyboard.press(".")
    page.wait_for_timeout(500)


_SHOW = """
([type, at]) => {
  for (const before of [...app.graph._nodes]) app.graph.remove(before); // not clear(): widgets remember values by a node's number
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  node.pos = at;
  node.setSize(node.computeSize());
  node.size[0] = Math.max(node.size[0], 340);
  if (type === 'PreviewLayers') node.setSize([460, 520]);
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [0, 0];
  app.canvas.setDirty(true, true);
  const box = document.querySelector('canvas#graph-canvas').getBoundingClientRect();
  return [box.left + node.pos[0], box.top + node.pos[1] - 30, node.size[0], node.size[1] + 30];
}
"""


def show_node(
    page, node_id: str, at: tuple[int, int] = (120, 140)
) -> tuple[float, float, float, float]:
    """Put one node alone on the canvas and return where it is on the screen: x, y, width, height."""
    box = page.evaluate(_SHOW, [node_id, at])
    page.wait_for_timeout(900)
    return tuple(box)


def open_help(page) -> str:
    """Open the help of the one node on the canvas as a user does; its text, once its image has arrived."""
    page.evaluate(
        "() => { app.canvas.selectNode(app.graph._nodes[0]); app.canvas.setDirty(true, true) }"
    )
    page.locator("[data-testid='info-button']").first.click()
    page.wait_for_function(
        "() => document.querySelector('.node-help-content img')?.naturalWidth > 0"
    )
    return page.locator(".node-help-content").first.inner_text()


def missing_nodes(page) -> list[str]:
    """Types on the canvas that the frontend does not know."""
    return page.evaluate(
        "app.graph._nodes.filter(n => !(n.type in LiteGraph.registered_node_types)).map(n => n.type)"
    )


def press_run(page) -> None:
    for selector in RUN_BUTTONS:
        button = page.locator(selector).first
        if button.count():
            button.click()
            return
    raise AssertionError("the frontend shows no Run button")


def run_and_wait(page, server: Server) -> dict:
    """Press Run and return the history entry of the run it started."""
    before = set(server.get("/history"))
    press_run(page)
    for _ in range(RUN_MS // 500):
        new = {
            k: v
            for k, v in server.get("/history").items()
            if k not in before and v["status"].get("status_str")
        }
        if new:
            page.wait_for_timeout(2500)  # let the images arrive
            return next(iter(new.values()))
        page.wait_for_timeout(500)
    raise AssertionError("the run did not end")


# Columns by longest path from a source, so that a template is read from left to right; saved images in a row below.
_ARRANGE = """
() => {
  const nodes = app.graph._nodes, depth = {}, links = app.graph.links;
  const get = (id) => links.get ? links.get(id) : links[id];
  const find = (n) => depth[n.id] ??= Math.max(0, ...(n.inputs ?? []).filter(i => i.link != null).map(i => 1 + find(app.graph.getNodeById(get(i.link).origin_id))));
  nodes.forEach(find);
  const columns = [], images = nodes.filter(n => n.type === 'SaveAnimatedWEBP');
  nodes.filter(n => !images.includes(n)).forEach(n => (columns[depth[n.id]] ??= []).push(n));
  let x = 40, left = 40, ends = [];
  for (const column of columns) {
    let y = 80, widest = 0;
    for (const n of column) {
      for (const w of n.widgets ?? []) if (w.name === 'control_after_generate') w.value = 'fixed';
      n.setSize(n.computeSize());
      n.size[0] = Math.max(n.size[0], 300);
      if (n.type === 'PreviewLayers') n.setSize([460, 560]);
      if (n.type === 'SaveVideo') n.size[1] = Math.max(n.size[1], 330);
      if (n.type === 'LayerSampler' || n.type === 'DecomposeVideo') n.size[1] += 120;
      if (n.type === 'CompositeRGBA') left = x;
      n.pos = [x, y]; y += n.size[1] + 60; widest = Math.max(widest, n.size[0]);
    }
    x += widest + 60;
    ends.push([x, y]);
  }
  const bottom = Math.max(...ends.filter(([right]) => right > left).map(([, y]) => y));
  for (const n of images) {
    n.size = [320, 380]; n.pos = [left, bottom]; left += 360;
  }
  return JSON.stringify(app.graph.serialize());
}
"""


def to_ui_graph(page, api: dict, name: str) -> dict:
    """An API graph as the UI graph that the frontend would save."""
    page.evaluate("async ([api, name]) => { await app.loadApiJson(api, name) }", [api, name])
    page.wait_for_timeout(1500)
    return json.loads(page.evaluate(_ARRANGE))
