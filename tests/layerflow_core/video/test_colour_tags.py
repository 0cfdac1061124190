"""What a video says of its colours: against numbers worked out by the standards, and ffmpeg's own names."""

import numpy as np
import pytest
import torch

from layerflow_core.video.colour_tags import ColourTags
from layerflow_core.video.files import read_video

from .clips import read, solid, write_video

RGB = torch.tensor([64, 128, 192]) / 255
WEIGHTS = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}
MATRICES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020"}


def yuv(matrix: str, full: bool = False, rgb=(64, 128, 192)) -> tuple[int, int, int]:
    """ITU-R BT.601, BT.709 and BT.2020: red, green and blue in bytes to Y, Cb and Cr."""
    red, green, blue = (value / 255 for value in rgb)
    kr, kb = WEIGHTS[matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    differences = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if full:
        return round(255 * luma), *(round(128 + 255 * d) for d in differences)
    return round(16 + 219 * luma), *(round(128 + 224 * d) for d in differences)


def write(path, planes, tags, height=64, width=96, form="yuv444p", codec="libx264"):
    frames = [solid(planes, height, width, form) for _ in range(2)]
    return write_video(path, frames, codec, form, tags=tags)


def colour_of(footage):
    return footage.colour.mean((0, 2, 3))


@pytest.mark.parametrize("number", MATRICES)
@pytest.mark.parametrize("full", [False, True], ids=["TV range", "PC range"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_tagged_matrix_and_range_are_heeded(tmp_path, number, full, suffix):
    tags = (number, 2, 2, 2 if full else 1)
    path = write(tmp_path / f"a{suffix}", yuv(MATRICES[number], full), tags)
    assert (colour_of(read_video(path)) - RGB).abs().max() < 2 / 255


@pytest.mark.parametrize(
    "height, width, matrix",
    [(720, 1280, "BT.709"), (1080, 96, "BT.709"), (576, 720, "BT.601"), (718, 1280, "BT.601"), (64, 96, "BT.601")],
)
def test_an_untagged_video_is_taken_as_players_take_it(tmp_path, height, width, matrix):
    path = write(tmp_path / "a.mp4", yuv(matrix), (2, 2, 2, 0), height, width)
    assert (colour_of(read_video(path)) - RGB).abs().max() < 2 / 255


@pytest.mark.parametrize("chosen", ["BT.601", "BT.709"])
@pytest.mark.parametrize("tag", [1, 2, 6])
def test_a_chosen_matrix_counts_more_than_any_tag(tmp_path, chosen, tag):
    path = write(tmp_path / "a.mp4", yuv(chosen), (tag, 2, 2, 0))
    assert (colour_of(read(path, colours=chosen)) - RGB).abs().max() < 2 / 255


def test_matrices_differ_enough_to_be_seen(tmp_path):
    path = write(tmp_path / "a.mp4", yuv("BT.709"), (2, 2, 2, 0))
    assert (colour_of(read(path, colours="BT.601")) - RGB).abs().max() > 4 / 255


HDR = {
    "PQ": ((9, 9, 16, 1), "BT.2020 primaries and PQ"),
    "HLG": ((9, 9, 18, 1), "BT.2020 primaries and HLG"),
    "linear": ((1, 1, 8, 1), "linear light"),
    "wide": ((9, 9, 14, 1), "BT.2020 primaries"),
    "P3": ((1, 12, 1, 1), "Display P3 primaries"),
}


def grey_levels(footage):
    return footage.colour[0].mean((1, 2))


@pytest.mark.parametrize("name", HDR)
def test_other_curves_and_primaries_are_converted_or_said(tmp_path, caplog, name):
    tags, title = HDR[name]
    planes = (500, 512, 512)  # grey, 10 bits, TV range: (500 - 64) / 876 of the curve
    path = write(tmp_path / "a.mkv", planes, tags, form="yuv444p10le")
    footage = read_video(path)
    stored = (500 - 64) / 876
    if caplog.records:
        assert "its colours are wrong: it has " in caplog.text
        assert title.split()[0] in caplog.text
        assert len(caplog.records) == 1
        assert (grey_levels(footage) - stored).abs().max() < 0.01
        return
    expected = {"PQ": pq(stored), "HLG": hlg(stored), "linear": to_srgb(stored), "wide": stored, "P3": stored}
    assert (grey_levels(footage) - expected[name]).abs().max() < 0.02


def to_srgb(light: float) -> float:
    """IEC 61966-2-1."""
    light = min(1.0, light)
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def pq(signal: float) -> float:
    """SMPTE ST 2084, reference white at 203 cd/m2 (ITU-R BT.2408)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    light = 10000 * (max(0.0, power - c1) / (c2 - c3 * power)) ** (1 / m1)
    return to_srgb(light / 203)


def hlg(signal: float) -> float:
    """ARIB STD-B67: the scene's light, which ffmpeg's scaler shows on a display of 1000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = signal**2 / 3 if signal <= 0.5 else (np.exp((signal - c) / a) + b) / 12
    return to_srgb(1000 * scene**1.2 / 203)


@pytest.mark.parametrize("transfer", [1, 2, 6, 13, 14])
def test_sdr_is_plain(transfer):
    assert ColourTags(transfer, 1).is_plain
    assert not ColourTags(transfer, 9).is_plain


def test_what_ffmpeg_has_no_name_for_is_described():
    tags = ColourTags(99, 98)
    assert tags.scale_options is None
    assert tags.describe() == "unknown (98) primaries and unknown (99) transfer"


def test_alpha_of_prores_and_vp9_is_straight(tmp_path):
    import av

    array = np.zeros((64, 96, 4), np.uint8)
    array[..., :3] = (200, 100, 50)
    array[..., 3] = 128
    path = write_video(tmp_path / "a.mov", [array] * 2, "prores_ks", "yuva444p10le", options={"profile": "4444"}, tags=(1, 1, 1, 1))
    footage = read_video(path)
    assert (footage.alpha - 128 / 255).abs().max() < 2 / 255
    assert (colour_of(footage) - torch.tensor([200, 100, 50]) / 255).abs().max() < 3 / 255
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt.startswith("yuva444p")


def test_a_multiplied_file_is_made_straight_when_asked(tmp_path):
    array = np.zeros((64, 96, 4), np.uint8)
    array[..., :3] = (100, 50, 25)
    array[..., 3] = 128
    path = write_video(tmp_path / "a.mov", [array] * 2, "prores_ks", "yuva444p10le", options={"profile": "4444"}, tags=(1, 1, 1, 1))
    footage = read(path, premultiplied=True)
    assert (colour_of(footage) - torch.tensor([200, 100, 50]) / 255).abs().max() < 4 / 255
    half = read(path, premultiplied=True, width=48)
    assert (colour_of(half) - torch.tensor([200, 100, 50]) / 255).abs().max() < 4 / 255


def test_interlaced_video_is_said(tmp_path, caplog):
    options = {"qp": "0", "preset": "ultrafast", "x264-params": "tff=1"}
    frames = [solid((100, 128, 128), 64, 96, "yuv420p") for _ in range(3)]
    path = write_video(tmp_path / "a.mp4", frames, "libx264", "yuv420p", options=options)
    read_video(path)
    assert sum("is interlaced" in record.getMessage() for record in caplog.records) == 1
