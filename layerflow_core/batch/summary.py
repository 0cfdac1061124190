"""A page that shows what a batch made: one HTML file without anything from elsewhere, to send or to archive."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..atomic import replacing
from ..errors import VideoFileError
from ..plain_data import read_bytes
from .shots import Shot
from .worker import FAILED, ShotResult

MOST_EMBEDDED = 1000
"""Pictures that are in the page itself, some 15 MB; those of larger batches are loaded from their folders."""
NOT_RUN = "not run"
_SHEET = "contact_sheet.png"
_LARGEST_SHEET = 256 * 1024**2  # bytes
_WIDTH = 480
_QUALITY = 75
_PAGE = Path(__file__).with_name("summary_page.html")


@dataclass(frozen=True)
class Entry:
    """A row of the page."""

    shot: Shot
    result: ShotResult

    @property
    def has_layers(self) -> bool:
        return self.result.state not in (FAILED, NOT_RUN)


def write_summary(path: Path, entries: Iterable[Entry]) -> None:
    """The page, whole or as it was before; raises VideoFileError if it cannot be written."""
    entries = list(entries)
    embed = sum(entry.has_layers for entry in entries) <= MOST_EMBEDDED
    rows = "\n".join(_row_of(entry, path.parent, embed) for entry in entries)
    page = _PAGE.read_text(encoding="utf-8")
    filled = page.replace("<!-- counts -->", _counts_of(entries)).replace("<!-- rows -->", rows)
    with replacing(path) as partial:
        partial.write_text(filled, encoding="utf-8")


def _counts_of(entries: list[Entry]) -> str:
    states = [entry.result.state for entry in entries]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    return html.escape(", ".join(f"{count} {state}" for state, count in counts.items()))


def _row_of(entry: Entry, root: Path, embed: bool) -> str:
    shot = entry.shot
    result = entry.result
    folder = shot.folder.relative_to(root.absolute()).as_posix()
    link = quote(folder)
    seconds = f"{result.seconds:.0f} s" if result.seconds else ""
    picture = _picture_of(shot.folder, link, embed) if entry.has_layers else ""
    cells = (
        str(shot.number),
        f'<a href="{link}/">{html.escape(folder)}</a>',
        html.escape(shot.task),
        _prompts_of(shot.prompts),
        str(shot.seed),
        f'<b class="{result.state.replace(" ", "-")}">{result.state}</b> {seconds}'
        f"<p>{html.escape(result.message)}</p>",
        picture,
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _prompts_of(prompts: Mapping[str, str]) -> str:
    lines = (f"<i>{html.escape(name)}</i> {html.escape(text)}" for name, text in prompts.items())
    return "<br>".join(lines)


def _picture_of(folder: Path, link: str, embed: bool) -> str:
    """A shot's contact sheet; nothing where it cannot be read."""
    source = f"{link}/{_SHEET}"
    if embed:
        data = _shrink(folder / _SHEET)
        if data is None:
            return ""
        source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<a href="{link}/{_SHEET}"><img loading="lazy" alt="" src="{source}"></a>'


def _shrink(path: Path) -> bytes | None:
    from PIL import Image

    try:
        data = read_bytes(path, VideoFileError, _LARGEST_SHEET)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            small = image.convert("RGB")
            small.thumbnail((_WIDTH, _WIDTH))
    except (VideoFileError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    written = io.BytesIO()
    small.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
