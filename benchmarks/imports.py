"""Seconds that ComfyUI reports for importing this pack, beside others: ``COMFYUI_DIR=.

Python -m benchmarks.imports [PACK ...]``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.comfy_server import checkouts, start

_LINE = re.compile(r"\s*([\d.]+) seconds( \(IMPORT FAILED\))?:.*custom_nodes/(\S+)")
STARTS = 3


def measure(checkout: Path, others: list[Path]) -> dict[str, list[str]]:
    """By pack, what each start reports."""
    reported: dict[str, list[str]] = {}
    for _ in range(STARTS):
        base = Path(tempfile.mkdtemp())
        (base / "custom_nodes").mkdir()
        for pack in others:
            (base / "custom_nodes" / pack.name).symlink_to(pack.resolve())
        server = start(checkout, base)
        server.process.terminate()
        server.process.wait(30)
        for seconds, failed, name in _LINE.findall((base / "server.log").read_text()):
            reported.setdefault(name, []).append(seconds + failed)
    return reported


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps what it has compiled
    for checkout in checkouts():
        for name, seconds in measure(
            checkout, [Path(argument) for argument in sys.argv[1:]]
        ).items():
            print(f"{checkout.name}: {name}: {', '.join(seconds)} s", flush=True)


if __name__ == "__main__":
    main()
