"""Writes ``workflows/*.json`` from ``workflows/api/*.json`` through a real frontend, and each one's
thumbnail from a run.

Run as ``python -m tests.end_to_end.export_workflows [NAME ...]``; give COMFYUI_DIR the oldest supported checkout.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path

import torch

from layerflow_core.video.files import read_video
from layerflow_core.video.pixels import to_array

from .browser import open_graph, open_page, run_and_wait, to_ui_graph
from .comfy_server import PACK, checkouts, start

COLUMNS, CELL = 2, (288, 192)


def middle_frame(path: Path):
    """Of an animation or a video, as RGBA."""
    from PIL import Image

    if path.suffix in (".mp4", ".mov"):
        footage = read_video(path)
        pixels = (
            footage.colour
            if footage.alpha is None
            else torch.cat([footage.colour, footage.alpha], 1)
        )
        return Image.fromarray(to_array(pixels[len(pixels) // 2], 255)).convert("RGBA")
    with Image.open(path) as moving:
        moving.seek(moving.n_frames // 2)
        return moving.convert("RGBA")


def write_thumbnail(images: list[Path], target: Path) -> None:
    """The saved layers' middle frames side by side over a checkerboard."""
    from PIL import Image

    sheet = Image.new("RGB", (COLUMNS * CELL[0], -(-len(images) // COLUMNS) * CELL[1]))
    board = Image.new("RGB", CELL)
    board.putdata(
        [
            (102, 102, 102) if (x // 12 + y // 12) % 2 else (153, 153, 153)
            for y in range(CELL[1])
            for x in range(CELL[0])
        ]
    )
    for i, path in enumerate(images):
        frame = middle_frame(path).resize(CELL, Image.Resampling.BICUBIC)
        cell = board.copy()
        cell.paste(frame, (0, 0), frame)
        sheet.paste(cell, ((i % COLUMNS) * CELL[0], (i // COLUMNS) * CELL[1]))
    sheet.save(target, quality=88)


def player_images(page) -> list[Path]:
    """What the player shows, in three moments, for graphs that save nothing an image can be made of."""
    folder, player = (
        Path(tempfile.mkdtemp()),
        "app.graph._nodes.find(n => n.type === 'PreviewLayers').layerflowPlayer",
    )
    paths = []
    for frame in (0, 5, 10, 15):
        page.evaluate(f"{player}.show({frame})")
        page.wait_for_timeout(500)
        url = page.evaluate(f"{player}.canvas.toDataURL('image/png')")
        paths.append(folder / f"{frame:02d}.png")
        paths[-1].write_bytes(base64.b64decode(url.split(",")[1]))
    return paths


def main() -> None:
    server = start(checkouts()[0], Path(tempfile.mkdtemp()))
    try:
        with open_page(server) as page:
            names = sys.argv[1:] or sorted(
                api.stem for api in (PACK / "workflows" / "api").glob("*.json")
            )
            for api in (PACK / "workflows" / "api" / f"{name}.json" for name in names):
                graph = to_ui_graph(page, json.loads(api.read_text()), api.stem)
                target = PACK / "workflows" / api.name
                target.write_text(json.dumps(graph, indent=1) + "\n")
                open_graph(page, graph)
                entry = run_and_wait(page, server)
                images = [path for path in sorted(server.saved(entry)) if path.suffix != ".json"]
                write_thumbnail(
                    [path for path in images if path.suffix != ".exr"] or player_images(page),
                    target.with_suffix(".jpg"),
                )
                print(target)
    finally:
        server.process.terminate()


if __name__ == "__main__":
    main()
