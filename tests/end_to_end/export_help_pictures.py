"""Takes the picture of each node for its help page, ``web/docs/<NodeId>.webp``, in a real frontend.

Run as ``python -m tests.end_to_end.export_help_pictures``.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from .browser import open_page
from .comfy_server import PACK, checkouts, start

MARGIN, QUALITY = 14, 85
# One node alone on the canvas; where it is on the screen.
_SHOW = """
(type) => {
  for (const before of [...app.graph._nodes]) app.graph.remove(before); // not clear(): widgets remember values by a node's number
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  node.pos = [120, 140];
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


def main() -> None:
    from PIL import Image

    server = start(checkouts()[0], Path(tempfile.mkdtemp()))
    try:
        with open_page(server, 1300, 1000) as page:
            for help_page in sorted((PACK / "web" / "docs").glob("*.md")):
                x, y, width, height = page.evaluate(_SHOW, help_page.stem)
                page.wait_for_timeout(900)
                clip = {"x": x - MARGIN, "y": y - MARGIN, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN}
                picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
                picture.save(help_page.with_suffix(".webp"), quality=QUALITY)
                print(help_page.stem, picture.size)
    finally:
        server.process.terminate()


if __name__ == "__main__":
    main()
