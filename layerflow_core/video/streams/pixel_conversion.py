"""Decoded frames to RGB and RGB to the formats of encoders, by ffmpeg's scale filter.

PyAV's own short cuts (``reformat``, ``to_ndarray``) do not heed a frame's colour matrix in every version.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .colour_tags import ColourTags, has_unknown_matrix, matrix_name, range_name

BT709 = 1  # of ffmpeg's numbers for matrices, primaries and transfer curves
LIMITED = 1  # of those for ranges
_PLAIN = ColourTags()
WHOLE = 65535
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


class PixelConversion:
    """Frames of one size and kind to another pixel format, one after another.

    Args:
        pixel_format: of what comes out; what is not RGB is BT.709, limited range, and says so.
        tags: of what goes in; other curves and primaries than those of SDR become sRGB's where this ffmpeg can (from
            version 8 on), and else a ``problem``.
    """

    def __init__(self, pixel_format: str, tags: ColourTags = _PLAIN) -> None:
        self._format = pixel_format
        self._tags = tags
        self._graph: Any = None
        self._kind: tuple | None = None
        self.problem: str | None = None
        self.whites = (WHOLE, WHOLE)
        """Numbers that 1 of colour and of alpha has become, where what comes out has 16 bits."""

    def convert(self, frame):
        """An ``av.VideoFrame`` in the other format; a new kind of frame begins a new graph."""
        if frame.format.name == self._format and self._tags.is_plain:
            return frame
        self.prepare(frame)
        self._graph.push(frame)
        return self._graph.pull()

    def prepare(self, frame) -> None:
        """Build what frames of this kind need; ``problem`` is known then."""
        kind = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range
        if kind != self._kind:
            self.whites = deep_whites(frame)
            self._graph = self._choose_graph(frame)
            self._kind = kind

    def _choose_graph(self, frame):
        """The first graph that this ffmpeg can build."""
        import av

        if not is_rgb(frame.format.name) and has_unknown_matrix(frame):
            self.problem = f"a matrix that is not known here ({int(frame.colorspace)})"
        if self._tags.is_plain:
            return self._build(frame)
        options = self._tags.scale_options
        if options is not None:
            try:
                graph = self._build(frame, options)
            except (av.FFmpegError, ValueError):  # an ffmpeg that does not have these options
                pass
            else:
                self.whites = (WHOLE, WHOLE)
                return graph
        self.problem = self._tags.describe()
        return self._build(frame)

    def _build(self, frame, curves: str | None = None):
        import av

        graph = av.filter.Graph()
        time_base = frame.time_base or Fraction(1, 1000)
        colours = f"{_source_colours(frame, self._tags.colours)}:{self._target_colours()}"
        chain = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=time_base
            ),
            graph.add("scale", f"flags={_FLAGS}:{colours}"),
            graph.add("format", self._format),
        ]
        if curves:  # of light, which the numbers stand for only when white is whole
            chain.append(graph.add("colorlevels", _levels(self.whites)))
            chain.append(graph.add("scale", f"flags={_FLAGS}:{curves}"))
            chain.append(graph.add("format", self._format))
        if not is_rgb(self._format):
            target = "color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=limited"
            chain.append(graph.add("setparams", target))
        chain.append(graph.add("buffersink"))
        for before, after in zip(chain, chain[1:]):
            before.link_to(after)
        graph.configure()
        return graph

    def _target_colours(self) -> str:
        return (
            "out_range=full" if is_rgb(self._format) else "out_color_matrix=bt709:out_range=limited"
        )


def _source_colours(frame, colours: str) -> str:
    if is_rgb(frame.format.name):
        return "in_range=full"
    return f"in_color_matrix={matrix_name(frame, colours)}:in_range={range_name(frame)}"


def deep_whites(frame) -> tuple[int, int]:
    """What ffmpeg's scaler makes of 1 when a frame becomes RGB of 16 bits: colour's and alpha's.

    It widens numbers by shifting them, and takes 255 x 256 for the white of limited YUV; measured in FFmpeg 7 and 8.
    """
    bits = max(component.bits for component in frame.format.components)
    if bits <= 8 or is_rgb(frame.format.name):
        return WHOLE, WHOLE
    shifted = (2**bits - 1) << max(0, 16 - bits)
    is_full = range_name(frame) == "full" or len(frame.format.components) < 3
    return (shifted if is_full else 255 * 256), shifted


def _levels(whites: tuple[int, int]) -> str:
    """Options of ffmpeg's colorlevels filter."""
    colour, alpha = (white / WHOLE for white in whites)
    return f"rimax={colour:.8f}:gimax={colour:.8f}:bimax={colour:.8f}:aimax={alpha:.8f}"


def is_rgb(pixel_format: str) -> bool:
    import av

    return av.VideoFormat(pixel_format).is_rgb
