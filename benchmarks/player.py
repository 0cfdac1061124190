"""How evenly the layer player plays: ``COMFYUI_DIR=... python -m benchmarks.player [FRAMES ...]``.

A real ComfyUI page in headless Chromium with software GL. Clips of 720 x 480 at 24 frames a second with four layers
(a foreground with alpha, background, residual, blended scene) stand in ComfyUI's temporary folder; the page opens
players on them, plays for ten seconds by the browser's frame clock, and counts the clip's frames that were drawn.
Late are those that came half a period after their time, or never. First picture: from opening to the first drawing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from layerflow_core.layer_files.player_frames import write_player_frames
from layerflow_core.layers import Foreground, LayerVideo
from tests.end_to_end.browser import open_page
from tests.end_to_end.comfy_server import checkouts, start

WIDTH = 720
HEIGHT = 480
FPS = 24.0
SECONDS = 10
LENGTHS = (16, 48, 240)
SHIFT = 2
"""Pixels that a layer moves from frame to frame."""

_PLAY = """
async ([runs, seconds]) => {
  const { LayerPlayer } = await import('/extensions/ComfyUI-LayerFlow/layerflow/player.js')
  const box = document.createElement('div')
  box.style.cssText = 'position:fixed;inset:0;z-index:9999;display:flex;background:#222'
  document.body.append(box)
  const players = []
  for (const { run, urls, video } of runs) {
    const player = new LayerPlayer()
    const drawn = []
    const draw = player.draw.bind(player)
    player.draw = () => { draw(); drawn.push([player.frame, performance.now()]) }
    const holder = document.createElement('div')
    holder.style.cssText = 'width:460px;height:560px'
    holder.append(player.element)
    box.append(holder)
    const opened = performance.now()
    await player.open(run, urls, video)
    players.push({ player, drawn, first: performance.now() - opened })
  }
  await new Promise((done) => setTimeout(done, 500))
  for (const { player, drawn } of players) { drawn.length = 0; player.toggle() }
  await new Promise((done) => setTimeout(done, seconds * 1000))
  const memory = performance.memory?.usedJSHeapSize
  for (const { player } of players) { player.stop(); player.dispose() }
  box.remove()
  return [players.map(({ drawn, first }) => ({ drawn, first })), memory]
}
"""


def _pan(image: Tensor, frames: int) -> Tensor:
    """[C, H, W + a margin] as a clip [N, C, H, W] that moves over it: a view."""
    channels, height, width = image.shape
    strides = (SHIFT, *image.stride())
    return image.as_strided((frames, channels, height, WIDTH), strides)


def make_layers(frames: int) -> LayerVideo:
    width = WIDTH + SHIFT * frames
    x = torch.linspace(0, width / 60, width).view(1, 1, -1)
    y = torch.linspace(0, HEIGHT / 60, HEIGHT).view(1, -1, 1)
    phase = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1)
    generator = torch.Generator().manual_seed(0)
    grain = 0.03 * torch.randn(3, HEIGHT, width, generator=generator)
    behind = 0.5 + 0.3 * torch.sin(x + phase) * torch.cos(y - phase) + grain
    object_colour = 0.5 + 0.4 * torch.cos(3 * x - phase) + 0 * y
    alpha = (2 * torch.sin(x) * torch.sin(y)).clamp(0, 1)
    blended = object_colour * alpha + behind * (1 - alpha)
    clips = [_pan(image.clamp(0, 1), frames) for image in (object_colour, alpha, behind, blended)]
    residual = _pan(0.1 * torch.sin(5 * x + y) + 0 * phase, frames)
    foreground = Foreground("foreground", clips[0], clips[1])
    return LayerVideo((foreground,), clips[2], clips[3], FPS, residual)


def read_clock(drawn: list[list[float]]) -> tuple[float, float]:
    """Frames a second that were drawn, and the share of the clip's frames that were late or left out."""
    period = 1000 / FPS
    times = []
    last = None
    for frame, moment in drawn:
        if frame != last:
            times.append(moment)
        last = frame
    span = times[-1] - times[0] if len(times) > 1 else 1000 * SECONDS
    gaps = [after - before for before, after in zip(times, times[1:])]
    late = sum(max(0, round(gap / period - 0.01)) - 1 if gap > 1.5 * period else 0 for gap in gaps)
    silent = 1000 * SECONDS - span
    late += max(0, round(silent / period) - 2)
    return 1000 * (len(times) - 1) / span, late / (FPS * SECONDS)


def main() -> None:
    lengths = [int(word) for word in sys.argv[1:]] or list(LENGTHS)
    checkout = checkouts()[0]
    base = Path(tempfile.mkdtemp())
    server = start(checkout, base)
    try:
        with open_page(server, 1600, 900) as page:
            print(
                "| frames | players | written in, s | first picture, ms | fps | late | heap, MiB |"
            )
            print("|---|---|---|---|---|---|---|")
            for frames in lengths:
                began = time.perf_counter()
                folder = base / "temp" / f"clip{frames}"
                folder.mkdir(parents=True)
                run = write_player_frames(folder, make_layers(frames), WIDTH)
                written = time.perf_counter() - began
                for players in (1, 3) if frames == lengths[-1] else (1,):
                    results, heap = page.evaluate(_PLAY, [[_links(run, frames)] * players, SECONDS])
                    for result in results:
                        fps, late = read_clock(result["drawn"])
                        print(
                            f"| {frames} | {players} | {written:.1f} | {result['first']:.0f} "
                            f"| {fps:.1f} | {late:.0%} | {(heap or 0) / 2**20:.0f} |",
                            flush=True,
                        )
    finally:
        server.process.terminate()
        server.process.wait(30)


def _links(run: dict, frames: int) -> dict:
    folder = f"/view?subfolder=clip{frames}&type=temp&filename="
    return {
        "run": run,
        "urls": [folder + name for name in run["frames"]],
        "video": folder + run["stream"],
    }


if __name__ == "__main__":
    main()
