"""Animated WebP: no frame is merged or lies over another, and the clip lasts as long as it should."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.errors import FrameError
from layerflow_core.video.files import read_video
from layerflow_core.video.webp import write_webp


def frames(count: int, channels: int = 4, height: int = 7, width: int = 10) -> torch.Tensor:
    values = torch.randint(
        0, 256, (count, channels, height, width), generator=torch.Generator().manual_seed(count)
    )
    if channels == 4:
        values[:, 3, : height // 2] *= torch.arange(count)[:, None, None] % 2  # comes and goes
    return values / 255


@pytest.mark.parametrize("channels", [3, 4])
def test_every_frame_is_kept_as_it_is(tmp_path, channels):
    clip = frames(5, channels)[[0, 0, 1, 1, 1, 2, 3, 4, 4]]
    write_webp(tmp_path / "a.webp", clip, Fraction(24))
    back = read_video(tmp_path / "a.webp")
    pixels = back.colour if back.alpha is None else torch.cat([back.colour, back.alpha], 1)
    assert torch.equal(pixels, clip)


def test_a_still_clip_keeps_its_length(tmp_path):
    write_webp(tmp_path / "a.webp", frames(1)[[0] * 6], 8)
    assert len(read_video(tmp_path / "a.webp").colour) == 6


@pytest.mark.parametrize(
    "fps",
    [
        Fraction(8),
        Fraction(24),
        Fraction(25),
        Fraction(24000, 1001),
        Fraction(30000, 1001),
        Fraction(60),
    ],
)
def test_rate(tmp_path, fps):
    write_webp(tmp_path / "a.webp", frames(3)[torch.arange(96) % 3], fps)
    assert read_video(tmp_path / "a.webp").fps == fps


def test_container(tmp_path):
    path = tmp_path / "a.webp"
    write_webp(
        path, frames(2, height=9, width=13), 8, {"workflow": {"nodes": "wörd"}, "alpha": "straight"}
    )
    data = path.read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8 and len(data) % 2 == 0
    with Image.open(path) as image:
        assert image.size == (13, 9) and image.n_frames == 2 and image.info["loop"] == 0
        assert dict(image.getexif()) == {0x010F: 'workflow:{"nodes": "w\\u00f6rd"}'}
        assert np.asarray(image.convert("RGBA")).shape == (9, 13, 4)


def test_bad_frames_leave_no_file(tmp_path):
    for clip, words in (
        ([], "no frames"),
        ([frames(1)[0], frames(1, height=8)[0]], "frame 1 of"),
        ([torch.zeros(3, 1, 20000)], "16383"),
    ):
        with pytest.raises(FrameError, match=words):
            write_webp(tmp_path / "a.webp", clip, 8)
    assert not list(tmp_path.iterdir())


def test_frames_are_taken_one_by_one(tmp_path):
    """Every frame is in the file before the next one is asked for."""
    sizes = []

    def clip():
        for frame in frames(4, height=64, width=64):
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            yield frame

    write_webp(tmp_path / "a.webp", clip(), 8)
    assert sizes[2] > 0 and sizes == sorted(sizes) and sizes[3] > sizes[2]
