"""Memory and speed of saving: ``python -m benchmarks.saving [FRAMES]``, 720 x 480 with alpha; needs
ffmpeg for the ratio.

Memory: 2,000 frames that are made as they are asked for, in a process of their own; how far its peak rises above the
interpreter with everything imported. Speed: the same 96 frames, ready in memory, through us and through ffmpeg's
command line with the same encoder settings, in turn; the ratio of the fastest rounds, above 1 where we are faster.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from layerflow_core.rates import exact_rate
from layerflow_core.video.formats import WITH_ALPHA
from layerflow_core.video.pixels import to_array
from layerflow_core.video.png import PNG_OPTIONS
from layerflow_core.video.streams.encodings import PRORES_4444

FORMATS = ("ProRes 4444 (.mov)", "PNG 8 bit", "PNG 16 bit")
HEIGHT = 480
WIDTH = 720
ROUNDS = 3
TIMED = 96
_RAW = {
    "ProRes 4444 (.mov)": ("rgba64le", 65535),
    "PNG 8 bit": ("rgba", 255),
    "PNG 16 bit": ("rgba64le", 65535),
}


def frames(count: int) -> Iterator[Tensor]:
    """An image that moves, [4, H, W]."""
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(
        torch.rand(1, 4, 30, 45), (HEIGHT, WIDTH), mode="bicubic"
    )[0].clamp(0, 1)
    return (torch.roll(image, 3 * number, -1) for number in range(count))


def measure_memory(form: str, count: int) -> str:
    def memory(field: str) -> float:
        (line,) = [
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith(field)
        ]
        return int(line.split()[1]) / 1024

    import av  # noqa: F401 - part of the interpreter with everything imported

    before = memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        WITH_ALPHA[form].save(Path(folder, "saved"), frames(count), exact_rate(24), {})
    return f"{memory('VmHWM') - before:.0f}"


def time_ours(form: str, images: list[Tensor]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        WITH_ALPHA[form].save(Path(folder, "saved"), images, exact_rate(24), {})
        return time.perf_counter() - started


def time_ffmpeg(form: str, images: list[Tensor]) -> float:
    pixel_format, top = _RAW[form]
    raw = [to_array(image, top).tobytes() for image in images]
    options = [
        part
        for key, value in PRORES_4444.options.items()
        for part in (f"-{'profile:v' if key == 'profile' else key}", value)
    ]
    prores = ["-c:v", "prores_ks", "-pix_fmt", PRORES_4444.pixel_format, *options]
    png = [
        "-c:v",
        "png",
        "-pix_fmt",
        pixel_format.replace("le", "be"),
        *(part for key, value in PNG_OPTIONS.items() for part in (f"-{key}", value)),
    ]
    how = prores if "ProRes" in form else png
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "saved.mov" if "ProRes" in form else "%05d.png"))
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-f",
            "rawvideo",
            "-pix_fmt",
            pixel_format,
            "-s",
            f"{WIDTH}x{HEIGHT}",
            "-r",
            "24",
            "-i",
            "-",
            *how,
            target,
        ]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        for image in raw:
            process.stdin.write(image)
        process.stdin.close()
        if process.wait():
            raise SystemExit("ffmpeg failed")
        return time.perf_counter() - started


def main() -> None:
    if len(sys.argv) > 2:
        print(measure_memory(sys.argv[1], int(sys.argv[2])))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    images = [frame.clone() for frame in frames(TIMED)]
    print(
        f"{WIDTH} x {HEIGHT} with alpha\n\n| | MiB above the interpreter, {count} frames | "
        "speed against ffmpeg's |\n|---|---|---|"
    )
    for form in FORMATS:
        rounds = [(time_ours(form, images), time_ffmpeg(form, images)) for _ in range(ROUNDS)]
        ours, theirs = (min(column) for column in zip(*rounds))
        memory = subprocess.run(
            [sys.executable, "-m", "benchmarks.saving", form, str(count)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        print(f"| {form} | {memory} | {theirs / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
