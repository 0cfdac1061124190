"""What a video says of its colours, against the formulas of ITU-R BT.601, 709, 2020, 2100 and 2408."""

import numpy as np
import pytest
import torch

from layerflow_core.video.files import read_video
from layerflow_core.video.streams.colour_tags import ColourTags

from ..clips import UNTAGGED, read, solid, write_video

av = pytest.importorskip("av")

COLOUR = (64, 128, 192)
LUMA = {
    "BT.601": (0.299, 0.114),
    "BT.709": (0.2126, 0.0722),
    "BT.2020": (0.2627, 0.0593),
    "FCC": (0.30, 0.11),
    "240M": (0.212, 0.087),
}
NUMBERS = {"BT.709": 1, "FCC": 4, "BT.601": 6, "240M": 7, "BT.2020": 9}
LIMITED, FULL = 1, 2
PQ, HLG, LINEAR, SRGB, GAMMA22 = 16, 18, 8, 13, 4


def encode(rgb, matrix: str, bits: int = 8, full: bool = False) -> tuple[int, int, int]:
    """Y, Cb, Cr as whole numbers of 0..1 colour."""
    red, green, blue = rgb
    kr, kb = LUMA[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb = (blue - y) / (2 - 2 * kb)
    cr = (red - y) / (2 - 2 * kr)
    scale = 2 ** (bits - 8)
    if full:
        top = 2**bits - 1
        return round(y * top), round(cb * top + 128 * scale), round(cr * top + 128 * scale)
    return tuple(round(number * scale) for number in (16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr))


def clip(
    tmp_path,
    yuv,
    tags=UNTAGGED,
    height=48,
    width=64,
    pixel_format="yuv444p",
    codec="libx264",
    name="a.mp4",
):
    frames = [solid(yuv, height, width, pixel_format) for _ in range(2)]
    return write_video(tmp_path / name, frames, codec, pixel_format, tags=tags)


def shown(path, **selection):
    """R, G, B 0..255 of the middle of the first frame."""
    colour = read(path, **selection).colour[0]
    return (colour[:, colour.shape[1] // 2, colour.shape[2] // 2] * 255).tolist()


def plain(rgb=COLOUR):
    return [value / 255 for value in rgb]


@pytest.mark.parametrize(
    "height, width, matrix",
    [
        (720, 1280, "BT.709"),
        (1080, 608, "BT.709"),
        (720, 64, "BT.709"),
        (718, 1280, "BT.601"),
        (576, 720, "BT.601"),
        (480, 64, "BT.601"),
        (48, 1920, "BT.601"),
    ],
)
def test_untagged_video_is_taken_by_its_lines(tmp_path, height, width, matrix):
    path = clip(tmp_path, encode(plain(), matrix), height=height, width=width)
    assert shown(path) == pytest.approx(COLOUR, abs=2)


@pytest.mark.parametrize("height", [48, 720])
@pytest.mark.parametrize("matrix", ["BT.601", "BT.709"])
def test_a_chosen_matrix_goes_before_all(tmp_path, matrix, height):
    path = clip(tmp_path, encode(plain(), matrix), height=height)
    assert shown(path, colours=matrix) == pytest.approx(COLOUR, abs=2)
    wrongly_tagged = clip(tmp_path, encode(plain(), matrix), (9, 2, 2, 1), height)
    assert shown(wrongly_tagged, colours=matrix) == pytest.approx(COLOUR, abs=2)


@pytest.mark.parametrize("height", [48, 720])
@pytest.mark.parametrize("matrix", NUMBERS)
@pytest.mark.parametrize("value_range", [LIMITED, FULL])
def test_tags_of_matrix_and_range_are_heeded(tmp_path, matrix, value_range, height):
    yuv = encode(plain(), matrix, full=value_range == FULL)
    path = clip(tmp_path, yuv, (NUMBERS[matrix], 2, 2, value_range), height)
    assert shown(path) == pytest.approx(COLOUR, abs=2)


@pytest.mark.parametrize("value_range", [0, LIMITED, FULL])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_black_and_white_are_whole(tmp_path, level, value_range):
    """TV and PC range; untagged YUV is TV's."""
    yuv = encode([level] * 3, "BT.709", full=value_range == FULL)
    path = clip(tmp_path, yuv, (1, 1, 1, value_range))
    assert shown(path) == pytest.approx([level * 255] * 3, abs=1)


def test_what_lies_beyond_tv_range_is_cut(tmp_path):
    assert shown(clip(tmp_path, (255, 128, 128), (1, 1, 1, LIMITED))) == pytest.approx([255] * 3)
    assert shown(clip(tmp_path, (1, 128, 128), (1, 1, 1, LIMITED))) == pytest.approx([0] * 3)


@pytest.mark.parametrize("height", [48, 720])
def test_ten_bits_keep_their_steps(tmp_path, height):
    levels = []
    for luma in range(500, 504):
        path = clip(tmp_path, (luma, 512, 512), (1, 1, 1, 1), height, 64, "yuv444p10le")
        levels.append(shown(path)[0] / 255)
    expected = [(luma - 64) / 876 for luma in range(500, 504)]
    assert levels == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("value_range", [LIMITED, FULL])
@pytest.mark.parametrize(
    "pixel_format", ["yuva444p10le", "yuva444p12le", "yuva422p10le", "yuva444p16le"]
)
def test_white_and_opaque_are_whole_at_every_depth(tmp_path, pixel_format, value_range):
    """ffmpeg's scaler makes 65283 of white and 65472 of opaque."""
    bits = int(pixel_format[-4:-2])
    white = encode([1, 1, 1], "BT.709", bits, value_range == FULL)
    path = clip(
        tmp_path,
        (*white, 2**bits - 1),
        (1, 1, 1, value_range),
        64,
        64,
        pixel_format,
        "ffv1",
        "a.mkv",
    )
    footage = read_video(path)
    assert float(footage.colour.min()) == pytest.approx(1, abs=1e-4)
    assert float(footage.alpha.min()) == 1
    grey = encode([0.25, 0.25, 0.25], "BT.709", bits, value_range == FULL)
    half = 2 ** (bits - 1)
    path = clip(
        tmp_path, (*grey, half), (1, 1, 1, value_range), 64, 64, pixel_format, "ffv1", "b.mkv"
    )
    footage = read_video(path)
    assert float(footage.colour.mean()) == pytest.approx(0.25, abs=1e-3)
    assert float(footage.alpha.mean()) == pytest.approx(half / (2**bits - 1), abs=1e-4)


@pytest.mark.parametrize("height", [48, 720])
def test_motion_jpeg_is_what_jpeg_is(tmp_path, height):
    """BT.601, full range, of whatever size."""
    yuv = encode(plain(), "BT.601", full=True)
    path = clip(tmp_path, yuv, (5, 2, 2, 2), height, 64, "yuvj444p", "mjpeg", "a.avi")
    assert shown(path) == pytest.approx(COLOUR, abs=4)


@pytest.mark.parametrize("height", [48, 720])
@pytest.mark.parametrize(
    "name, codec, pixel_format",
    [
        ("a.mp4", "libx264rgb", "rgb24"),
        ("a.mov", "png", "rgb24"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.avi", "rawvideo", "bgr24"),
    ],
)
def test_rgb_is_left_alone(tmp_path, height, name, codec, pixel_format):
    frame = np.full((height, 64, 3), COLOUR, np.uint8)
    path = write_video(tmp_path / name, [frame], codec, pixel_format, tags=(0, 2, 2, 0))
    assert shown(path) == pytest.approx(COLOUR, abs=0.01)


def srgb_to_linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def linear_2020(rgb) -> list[float]:
    """Linear BT.709 of sRGB's numbers to linear BT.2020 (ITU-R BT.2087, M1)."""
    linear = np.array([srgb_to_linear(value) for value in rgb])
    matrix = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    return (np.array(matrix) @ linear).tolist()


def pq(nits: float) -> float:
    """Inverse EOTF of ITU-R BT.2100."""
    power = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def pq_clip(tmp_path, codec="libx264", rgb=COLOUR):
    """sRGB colours at HDR's reference white of 203 cd/m2."""
    signal = [pq(203 * value) for value in linear_2020(plain(rgb))]
    yuv = encode(signal, "BT.2020", 10)
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    return clip(tmp_path, yuv, (9, 9, PQ, LIMITED), 64, 64, "yuv444p10le", codec, "a.mkv")


def converts() -> bool:
    return av.library_versions["libswscale"] >= (9, 0, 0)


@pytest.mark.skipif(not converts(), reason="ffmpeg's scaler converts curves from version 8 on")
def test_pq_becomes_srgb(tmp_path, caplog):
    assert shown(pq_clip(tmp_path)) == pytest.approx(COLOUR, abs=6)
    assert not caplog.records


@pytest.mark.skipif(not converts(), reason="ffmpeg's scaler converts curves from version 8 on")
def test_what_is_brighter_than_white_is_white(tmp_path):
    signal = [pq(4000)] * 3
    path = clip(tmp_path, encode(signal, "BT.2020", 10), (9, 9, PQ, LIMITED), 64, 64, "yuv444p10le")
    assert shown(path) == pytest.approx([255] * 3, abs=2)


@pytest.mark.skipif(not converts(), reason="ffmpeg's scaler converts curves from version 8 on")
def test_wide_primaries_of_sdr_become_bt709s(tmp_path):
    """BT.2020 as UHD SDR has it: colours less saturated in numbers than BT.709's."""
    wide = [value ** (1 / 2.4) for value in linear_2020_of_gamma(plain())]
    path = clip(tmp_path, encode(wide, "BT.2020", 10), (9, 9, 14, LIMITED), 64, 64, "yuv444p10le")
    assert shown(path) == pytest.approx(COLOUR, abs=6)


def linear_2020_of_gamma(rgb) -> list[float]:
    """As displays of BT.1886 show SDR."""
    matrix = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    return (np.array(matrix) @ np.array([value**2.4 for value in rgb])).tolist()


@pytest.mark.parametrize(
    "primaries, transfer, words",
    [
        (9, PQ, "BT.2020 primaries and PQ (HDR) transfer"),
        (9, HLG, "BT.2020 primaries and HLG (HDR) transfer"),
        (12, 1, "Display P3 primaries"),
        (1, LINEAR, "linear light transfer"),
        (1, GAMMA22, "gamma 2.2 transfer"),
        (9, 14, "BT.2020 primaries"),
    ],
)
def test_where_it_cannot_be_converted_it_is_said_once(
    tmp_path, caplog, monkeypatch, primaries, transfer, words
):
    monkeypatch.setattr(ColourTags, "scale_options", None)
    path = clip(
        tmp_path,
        encode(plain(), "BT.2020", 10),
        (9, primaries, transfer, LIMITED),
        64,
        64,
        "yuv444p10le",
    )
    assert len(read_video(path).colour) == 2
    (message,) = [record.getMessage() for record in caplog.records]
    assert words in message
    assert "a.mp4" in message


def test_an_older_ffmpeg_says_so_as_well(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(ColourTags, "scale_options", "in_transfer_of_the_future=pq")
    read_video(pq_clip(tmp_path, "libx264"))
    assert "PQ (HDR)" in caplog.text


@pytest.mark.parametrize("transfer", [1, 2, 6, 7, 11, SRGB, 14, 15])
def test_curves_of_sdr_are_shown_as_they_are(tmp_path, caplog, transfer):
    path = clip(tmp_path, encode(plain(), "BT.709"), (1, 1, transfer, LIMITED))
    assert shown(path) == pytest.approx(COLOUR, abs=2)
    assert not caplog.records


@pytest.mark.skipif(not converts(), reason="ffmpeg's scaler converts curves from version 8 on")
@pytest.mark.parametrize(
    "transfer, light",
    [(LINEAR, srgb_to_linear), (GAMMA22, lambda value: srgb_to_linear(value) ** (1 / 2.2))],
)
def test_other_curves_become_srgbs(tmp_path, transfer, light):
    signal = [light(value) for value in plain()]
    path = clip(
        tmp_path, encode(signal, "BT.709", 10), (1, 1, transfer, LIMITED), 64, 64, "yuv444p10le"
    )
    assert shown(path) == pytest.approx(COLOUR, abs=4)


@pytest.mark.skipif(not converts(), reason="ffmpeg's scaler converts curves from version 8 on")
def test_hlg_keeps_grey_grey_and_in_order(tmp_path):
    tags = (9, 9, HLG, LIMITED)
    frames = []
    for signal in (0.1, 0.4, 0.7):
        frames.append(solid(encode([signal] * 3, "BT.2020", 10), 64, 64, "yuv444p10le"))
    path = write_video(tmp_path / "a.mp4", frames, "libx264", "yuv444p10le", tags=tags)
    colours = read_video(path).colour.mean((2, 3)) * 255
    assert (colours.amax(1) - colours.amin(1)).max() < 3
    levels = colours[:, 0].tolist()
    assert levels == sorted(levels)
    assert levels[0] < 80
    assert levels[-1] > 180


def test_an_interlaced_video_is_said_once(tmp_path, caplog):
    frames = [np.full((64, 64, 3), 90 + 10 * number, np.uint8) for number in range(4)]
    options = {"flags": "+ildct+ilme", "top": "1"}
    path = write_video(tmp_path / "a.mkv", frames, "mpeg2video", "yuv420p", 25, options=options)
    assert read_video(path).colour.shape == (4, 3, 64, 64)
    assert caplog.text.count("is interlaced") == 1


def test_a_progressive_video_is_not_spoken_of(tmp_path, caplog):
    frames = [np.full((64, 64, 3), 90, np.uint8)] * 4
    read_video(write_video(tmp_path / "a.mkv", frames, "mpeg2video", "yuv420p", 25))
    assert not caplog.records


def test_alpha_is_not_converted(tmp_path):
    frames = [np.dstack([np.full((32, 32, 3), COLOUR, np.uint8), np.full((32, 32), 100, np.uint8)])]
    path = write_video(tmp_path / "a.mov", frames, "png", "rgba")
    footage = read_video(path)
    assert torch.allclose(footage.alpha, torch.full((1, 1, 32, 32), 100 / 255))
    assert (footage.colour[0, :, 0, 0] * 255).tolist() == pytest.approx(COLOUR, abs=0.01)
