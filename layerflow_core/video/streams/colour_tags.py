"""What a video says of its colours, and what of that ffmpeg's scale filter is to be told.

Numbers and names are ffmpeg's, which are those of ITU-T H.273.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..frame_selection import AUTO, BT601, BT709

UNSPECIFIED = 2
LINES_OF_BT709 = 720
"""Untagged video of this many lines or more is BT.709, as players take it; less is BT.601."""

_MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "smpte170m",  # BT.470 BG has the same matrix, and FFmpeg 7 no such name for it
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}
_CHOSEN_MATRICES = {BT601: "smpte170m", BT709: "bt709"}
_RANGES = {1: "limited", 2: "full"}

# Curves that are shown as they are: those of SDR video and of sRGB, which displays treat alike.
_SDR_TRANSFERS = {0, 1, UNSPECIFIED, 3, 6, 7, 11, 12, 13, 14, 15}
_TRANSFERS = {
    4: "bt470m",
    5: "bt470bg",
    8: "linear",
    9: "log100",
    10: "log316",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_TRANSFER_TITLES = {
    4: "gamma 2.2",
    5: "gamma 2.8",
    8: "linear light",
    9: "logarithmic",
    10: "logarithmic",
    16: "PQ (HDR)",
    17: "SMPTE 428",
    18: "HLG (HDR)",
}

# Primaries of SD television differ little from BT.709's and are taken for them, as players do.
_SDR_PRIMARIES = {0, 1, UNSPECIFIED, 3, 5, 6, 7}
_PRIMARIES = {
    4: "bt470m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "jedec-p22",
}
_PRIMARIES_TITLES = {
    4: "BT.470 M",
    8: "film",
    9: "BT.2020",
    10: "SMPTE 428",
    11: "DCI-P3",
    12: "Display P3",
    22: "EBU 3213",
}
_SRGB = "iec61966-2-1"


@dataclass(frozen=True)
class ColourTags:
    """A video's tags: H.273's numbers.

    Args:
        colours: of ``selection.COLOURS``: what the matrix is taken for.
    """

    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    colours: str = AUTO

    @property
    def is_plain(self) -> bool:
        """Whether what is stored can be shown as it is."""
        return self.transfer in _SDR_TRANSFERS and self.primaries in _SDR_PRIMARIES

    @property
    def scale_options(self) -> str | None:
        """Options of ffmpeg's scale filter (from FFmpeg 8 on) that lead to sRGB; None where it has no names.

        HDR's reference white of 203 cd/m2 (ITU-R BT.2408) becomes 1, and what is brighter is cut off: middle tones stay
        where they belong.
        """
        if self.transfer in _SDR_TRANSFERS:
            curve = "in_transfer=bt709:out_transfer=bt709"
        elif self.transfer in _TRANSFERS:
            curve = f"in_transfer={_TRANSFERS[self.transfer]}:out_transfer={_SRGB}"
        else:
            return None
        if self.primaries in _SDR_PRIMARIES:
            return curve
        if self.primaries in _PRIMARIES:
            return f"{curve}:in_primaries={_PRIMARIES[self.primaries]}:out_primaries=bt709"
        return None

    def describe(self) -> str:
        """For messages: what is not as everybody expects."""
        parts = []
        if self.primaries not in _SDR_PRIMARIES:
            parts.append(
                f"{_PRIMARIES_TITLES.get(self.primaries, f'unknown ({self.primaries})')} primaries"
            )
        if self.transfer not in _SDR_TRANSFERS:
            parts.append(
                f"{_TRANSFER_TITLES.get(self.transfer, f'unknown ({self.transfer})')} transfer"
            )
        return " and ".join(parts)


def tags_of(frame, context, colours: str) -> ColourTags:
    """Tags of a decoded frame, or of its codec context where PyAV's frames do not tell."""
    transfer = _number(getattr(frame, "color_trc", None)) or _number(
        getattr(context, "color_trc", None)
    )
    primaries = _number(getattr(frame, "color_primaries", None)) or _number(
        getattr(context, "color_primaries", None)
    )
    return ColourTags(transfer or UNSPECIFIED, primaries or UNSPECIFIED, colours)


def _number(tag) -> int | None:
    """None for what says nothing."""
    return None if tag is None or int(tag) == UNSPECIFIED else int(tag)


def matrix_name(frame, colours: str) -> str:
    """ffmpeg's name of the matrix that a YUV frame has, or is taken to have."""
    if colours in _CHOSEN_MATRICES:
        return _CHOSEN_MATRICES[colours]
    tagged = _MATRICES.get(int(frame.colorspace))
    if tagged:
        return tagged
    return "bt709" if frame.height >= LINES_OF_BT709 else "smpte170m"


def has_unknown_matrix(frame) -> bool:
    """Whether a YUV frame says that it has a matrix that ffmpeg's scaler does not know."""
    return int(frame.colorspace) not in (*_MATRICES, 0, UNSPECIFIED, 3)


def range_name(frame) -> str:
    """ffmpeg's name of the range that a YUV frame says it has."""
    return _RANGES.get(int(frame.color_range), "auto")
