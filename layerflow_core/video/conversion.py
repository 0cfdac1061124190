"""Decoded frames to RGB and RGB to the formats of encoders, by ffmpeg's scale filter.

PyAV's own short cuts (``reformat``, ``to_ndarray``) do not heed a frame's colour matrix in every version.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

BT709 = 1  # of ffmpeg's numbers for matrices, primaries and transfer curves
LIMITED = 1  # of those for ranges
_MATRICES = {BT709: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_RANGES = {LIMITED: "limited", 2: "full"}
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


class Conversion:
    """Frames of one size and kind to another pixel format, one after another.

    Args:
        pixel_format: of what comes out; what is not RGB is BT.709, limited range, and says so.
    """

    def __init__(self, pixel_format: str) -> None:
        self._format = pixel_format
        self._graph: Any = None
        self._kind: tuple | None = None

    def convert(self, frame):
        """An ``av.VideoFrame`` in the other format; a new kind of frame begins a new graph."""
        if frame.format.name == self._format:
            return frame
        kind = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range
        if kind != self._kind:
            self._graph, self._kind = self._build(frame), kind
        self._graph.push(frame)
        return self._graph.pull()

    def _build(self, frame):
        import av

        graph = av.filter.Graph()
        chain = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)),
            graph.add("scale", f"flags={_FLAGS}:{_source_colours(frame)}:{self._target_colours()}"),
            graph.add("format", self._format),
        ]
        if not is_rgb(self._format):
            chain.append(graph.add("setparams", "color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=limited"))
        chain.append(graph.add("buffersink"))
        for before, after in zip(chain, chain[1:]):
            before.link_to(after)
        graph.configure()
        return graph

    def _target_colours(self) -> str:
        return "out_range=full" if is_rgb(self._format) else "out_color_matrix=bt709:out_range=limited"


def _source_colours(frame) -> str:
    if is_rgb(frame.format.name):
        return "in_range=full"
    return f"in_color_matrix={_MATRICES.get(frame.colorspace, 'auto')}:in_range={_RANGES.get(frame.color_range, 'auto')}"


def is_rgb(pixel_format: str) -> bool:
    import av

    return av.VideoFormat(pixel_format).is_rgb
