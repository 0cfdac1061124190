"""Takes the image of each node for its help page, ``web/docs/<NodeId>.webp``, in a real frontend.

Run as ``python -m tests.end_to_end.export_help_images [NodeId ...]``; without ids, for all nodes.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from .browser import open_page, show_node
from .comfy_server import PACK, checkouts, start

MARGIN, BADGE, QUALITY = 14, 12, 85  # pixels around a node, and those of the pack's badge above it


def help_pages(names: list[str]) -> list[Path]:
    """Of these nodes, or of all."""
    pages = PACK / "web" / "docs"
    return [pages / f"{name}.md" for name in names] if names else sorted(pages.glob("*.md"))


def main() -> None:
    from PIL import Image

    server = start(checkouts()[0], Path(tempfile.mkdtemp()))
    try:
        with open_page(server, 1300, 1000) as page:
            for help_page in help_pages(sys.argv[1:]):
                x, y, width, height = show_node(page, help_page.stem)
                clip = {
                    "x": x - MARGIN,
                    "y": y - MARGIN - BADGE,
                    "width": width + 2 * MARGIN,
                    "height": height + 2 * MARGIN + BADGE,
                }
                image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
                image.save(help_page.with_suffix(".webp"), quality=QUALITY)
                print(help_page.stem, image.size)
    finally:
        server.process.terminate()


if __name__ == "__main__":
    main()
