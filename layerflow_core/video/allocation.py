"""Memory of frames, counted before it is taken."""

from __future__ import annotations

from pathlib import Path

from ..errors import VideoFileError

BYTES = 4
"""Of a float32."""

_SHARE = 0.9  # of what is free; decoders and the rest of the process need some too
_CGROUP_FILES = (  # limit and use of the container this process is in, version 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory() -> int:
    """Bytes that can be taken without swapping, also within a container's limit."""
    import psutil

    free = psutil.virtual_memory().available
    for limit_file, used_file in _CGROUP_FILES:
        limit = _read_number(limit_file)
        used = _read_number(used_file)
        if limit is not None and used is not None:
            free = min(free, max(0, limit - used) + _page_cache(limit_file))
    return free


def _read_number(file: str) -> int | None:
    """None where there is no such file, or no limit."""
    try:
        return int(Path(file).read_text())
    except (OSError, ValueError):
        return None


def _page_cache(limit_file: str) -> int:
    """Bytes that count as used and are given back on demand."""
    try:
        lines = Path(limit_file).with_name("memory.stat").read_text().splitlines()
    except OSError:
        return 0
    facts = dict(line.split(" ", 1) for line in lines if " " in line)
    cached = facts.get("inactive_file") or facts.get("total_inactive_file") or "0"
    return int(cached)


def check_room(frames: int, channels: int, height: int, width: int, source: str) -> None:
    """Refuse what will not fit.

    Raises:
        VideoFileError: naming frames, size, bytes, what is free and what to do.
    """
    needed = frames * channels * height * width * BYTES
    free = free_memory()
    if needed <= free * _SHARE:
        return
    raise VideoFileError(
        f"{source}: got {frames} frames of {width} x {height} with {channels} channels, "
        f"{needed / 1e9:.1f} GB as floats, and {free / 1e9:.1f} GB of memory are free; "
        "read fewer (count, every) or smaller ones (width, height)"
    )
