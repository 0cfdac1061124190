"""Figures as a small picture: a bar for each measure and result, with its number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .measures import LESS, MEASURES, MORE, Figures, Measure
from .tables import shorten

WIDTH = 640
_PAPER = (24, 26, 31)
_TRACK = (44, 48, 56)
_INK = (222, 226, 232)
_FAINT = (140, 148, 160)
_COLOURS = ((86, 156, 245), (240, 160, 70))
_MARGIN = 14
_BAR_FROM, _BAR_TO = 312, 556
_LINE = 20
_BAR = 10
_GAP = 8
_TEXT = 13  # pixels
_HEADING = 26
_ARROW = 7


def draw_chart(results: Mapping[str, Figures]) -> Tensor:
    """One or two results beside each other.

    Args:
        results: by what they are called.

    Returns:
        [1, 3, H, 640], 0..1; as high as there are measures.
    """
    from PIL import Image, ImageDraw

    results = dict(list(results.items())[: len(_COLOURS)])
    rows = list(_rows(results))
    image = Image.new("RGB", (WIDTH, _height(rows, len(results))), _PAPER)
    draw = ImageDraw.Draw(image)
    top = _MARGIN
    if len(results) > 1:
        _draw_legend(draw, top, results)
        top += _LINE + _GAP
    for row in rows:
        if isinstance(row, str):
            draw.text((_MARGIN, top + _HEADING - _LINE), row, fill=_FAINT, font=_font())
            top += _HEADING
            continue
        _draw_row(draw, top, row, results)
        top += _LINE * len(results) + _GAP
    pixels = torch.from_numpy(np.asarray(image).copy())
    return pixels.permute(2, 0, 1)[None].float() / 255


def _rows(results: Mapping[str, Figures]) -> Iterator[str | Measure]:
    """Headings of groups, and the measures that a result has."""
    group = ""
    for name, row in MEASURES.items():
        if not any(name in figures.values for figures in results.values()):
            continue
        if row.group != group:
            group = row.group
            yield group
        yield row


def _height(rows: list[str | Measure], results: int) -> int:
    legend = _LINE + _GAP if results > 1 else 0
    lines = sum(_HEADING if isinstance(row, str) else _LINE * results + _GAP for row in rows)
    return 2 * _MARGIN + legend + max(lines, _LINE)


def _draw_legend(draw, top: int, results: Mapping[str, Figures]) -> None:
    left = _BAR_FROM
    for name, colour in zip(results, _COLOURS):
        draw.rectangle((left, top + 4, left + _BAR, top + 4 + _BAR), fill=colour)
        draw.text((left + _BAR + 6, top), name, fill=_INK, font=_font())
        left += (_BAR_TO - _BAR_FROM) // 2


def _draw_row(draw, top: int, row: Measure, results: Mapping[str, Figures]) -> None:
    _draw_arrow(draw, _MARGIN, top + (_LINE - _ARROW) // 2, row.better)
    draw.text((_MARGIN + 2 * _ARROW, top), row.title, fill=_INK, font=_font())
    for number, (figures, colour) in enumerate(zip(results.values(), _COLOURS)):
        line = top + number * _LINE
        upper = line + (_LINE - _BAR) // 2
        draw.rectangle((_BAR_FROM, upper, _BAR_TO, upper + _BAR), fill=_TRACK)
        value = figures.values.get(row.name)
        if value is None:
            draw.text((_BAR_TO + 10, line), "-", fill=_FAINT, font=_font())
            continue
        share = min(max(value / row.full, 0.0), 1.0)
        right = _BAR_FROM + round(share * (_BAR_TO - _BAR_FROM))
        if right > _BAR_FROM:
            draw.rectangle((_BAR_FROM, upper, right, upper + _BAR), fill=colour)
        draw.text((_BAR_TO + 10, line), shorten(value), fill=_INK, font=_font())


def _draw_arrow(draw, left: int, top: int, better: int) -> None:
    """Up where more is better, down where less is; Pillow's font has none."""
    base, tip = {MORE: (_ARROW, 0), LESS: (0, _ARROW)}.get(better, (0, 0))
    if base != tip:
        corners = [
            (left, top + base),
            (left + _ARROW, top + base),
            (left + _ARROW / 2, top + tip),
        ]
        draw.polygon(corners, fill=_FAINT)


@cache
def _font():
    """Pillow's own, so that nothing is looked for on the machine."""
    from PIL import ImageFont

    try:
        return ImageFont.load_default(_TEXT)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()
