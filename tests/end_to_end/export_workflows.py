"""Writes ``workflows/*.json`` from ``workflows/api/*.json`` through a real frontend, and each one's thumbnail from a run.

Run as ``python -m tests.end_to_end.export_workflows``; give COMFYUI_DIR the oldest supported checkout.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from layerflow_core.video.files import read_video

from .browser import open_graph, open_page, run_and_wait, to_ui_graph
from .comfy_server import PACK, checkouts, start

COLUMNS, CELL = 2, (288, 192)


def middle_frame(path: Path):
    """Of a moving picture or a video, as RGBA."""
    from PIL import Image

    if path.suffix == ".mp4":
        frames = read_video(path).colour
        picture = (frames[len(frames) // 2] * 255).round().byte().permute(1, 2, 0).numpy()
        return Image.fromarray(picture).convert("RGBA")
    with Image.open(path) as moving:
        moving.seek(moving.n_frames // 2)
        return moving.convert("RGBA")


def write_thumbnail(pictures: list[Path], target: Path) -> None:
    """The saved layers' middle frames side by side over a checkerboard."""
    from PIL import Image

    sheet = Image.new("RGB", (COLUMNS * CELL[0], -(-len(pictures) // COLUMNS) * CELL[1]))
    board = Image.new("RGB", CELL)
    board.putdata([(102, 102, 102) if (x // 12 + y // 12) % 2 else (153, 153, 153) for y in range(CELL[1]) for x in range(CELL[0])])
    for i, path in enumerate(pictures):
        frame = middle_frame(path).resize(CELL, Image.Resampling.BICUBIC)
        cell = board.copy()
        cell.paste(frame, (0, 0), frame)
        sheet.paste(cell, ((i % COLUMNS) * CELL[0], (i // COLUMNS) * CELL[1]))
    sheet.save(target, quality=88)


def main() -> None:
    server = start(checkouts()[0], Path(tempfile.mkdtemp()))
    try:
        with open_page(server) as page:
            for api in sorted((PACK / "workflows" / "api").glob("*.json")):
                graph = to_ui_graph(page, json.loads(api.read_text()), api.stem)
                target = PACK / "workflows" / api.name
                target.write_text(json.dumps(graph, indent=1) + "\n")
                open_graph(page, graph)
                entry = run_and_wait(page, server)
                write_thumbnail(sorted(server.saved(entry)), target.with_suffix(".jpg"))
                print(target)
    finally:
        server.process.terminate()


if __name__ == "__main__":
    main()
