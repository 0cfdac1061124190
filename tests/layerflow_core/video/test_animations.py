"""Animated GIF, WebP and PNG: delays, transparency, how frames replace each other; against Pillow."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from layerflow_core.errors import VideoFileError
from layerflow_core.video.animations import meant_rate, moves
from layerflow_core.video.files import read_video

from .clips import as_tensor, deep_png, greys, images, numbers_in, png_chunks, png_of, read

KINDS = ("a.gif", "a.webp", "a.apng", "a.png")


def save(path, frames, delays=100, **options):
    """Write an animation by Pillow.

    Args:
        delays: milliseconds, of all or of each.
    """
    first, *others = (Image.fromarray(array) for array in frames)
    form = "PNG" if path.suffix in (".apng", ".png") else None
    if path.suffix == ".webp":
        options = {"lossless": True, "exact": True, **options}
    first.save(path, form, save_all=True, append_images=others, duration=delays, **options)
    return path


def by_pillow(path):
    """[N, 4, H, W]."""
    with Image.open(path) as image:
        frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    return torch.stack([as_tensor(frame) for frame in frames])


@pytest.mark.parametrize(
    "delay, fps",
    [(100, 10), (40, 25), (50, 20), (500, 2), (20, 50), (1000, 1), (130, Fraction(100, 13))],
)
@pytest.mark.parametrize("name", KINDS)
def test_even_delays_are_a_rate(tmp_path, caplog, name, delay, fps):
    footage = read_video(save(tmp_path / name, greys(6), delay))
    assert numbers_in(footage) == list(range(6))
    assert float(footage.fps) == pytest.approx(float(fps), rel=1e-3)
    assert not caplog.records


@pytest.mark.parametrize(
    "delays, fps",
    [([33, 33, 34] * 4, 30), ([42, 41, 42, 42, 41, 42] * 4, 24), ([16, 17, 17] * 4, 60)],
)
@pytest.mark.parametrize("name", ["a.webp", "a.apng"])
def test_delays_rounded_to_milliseconds(tmp_path, caplog, name, delays, fps):
    footage = read_video(save(tmp_path / name, greys(len(delays), step=7), delays))
    assert footage.fps == fps
    assert not caplog.records


@pytest.mark.parametrize("name", KINDS)
def test_uneven_delays_are_said_and_resampled_on_demand(tmp_path, caplog, name):
    delays = [100] * 5 + [20] * 5  # and the last lasts as long as it says
    path = save(tmp_path / name, greys(10), delays)
    assert numbers_in(read_video(path)) == list(range(10))
    (message,) = [record.getMessage() for record in caplog.records]
    assert "from 10 to 50 a second" in message
    caplog.clear()
    footage = read(path, fps=10)
    assert numbers_in(footage) == [0, 1, 2, 3, 4, 5]
    assert numbers_in(read(path, fps=50)) == [n for n in range(5) for _ in range(5)] + [
        5,
        6,
        7,
        8,
        9,
    ]
    assert not caplog.records


@pytest.mark.parametrize("name", ["a.webp", "a.apng", "a.png"])
def test_frames_that_are_held_stay(tmp_path, name):
    """Writers make one long frame of equal ones."""
    path = save(tmp_path / name, [greys(3)[n] for n in (0, 1, 1, 1, 2)], 100)
    assert numbers_in(read(path, fps=10)) == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("name", ["a.webp", "a.apng", "a.gif"])
def test_no_delay_is_the_rate_of_images(tmp_path, name):
    path = save(tmp_path / name, greys(4), 0)
    footage = read_video(path)
    assert len(footage.colour) == 4
    assert footage.fps in (8, 10)  # ffmpeg shows a GIF without delays at 10, as browsers do


@pytest.mark.parametrize("name", ["a.webp", "a.apng", "a.png"])
def test_pixels_and_alpha_are_exact(tmp_path, name):
    frames = []
    for number, array in enumerate(images(5)):
        alpha = np.full(array.shape[:2], 255, np.uint8)
        alpha[:, : 8 * number] = 40 * number
        frames.append(np.dstack([array, alpha]))
    path = save(tmp_path / name, frames)
    footage = read_video(path)
    shown = torch.cat([footage.colour, footage.alpha], 1)
    assert torch.equal(shown, torch.stack([as_tensor(frame) for frame in frames]))


@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("name", ["a.gif", "a.apng"])
def test_frames_replace_each_other_as_pillow_has_it(tmp_path, name, disposal):
    frames = []
    for number in range(4):
        frame = np.zeros((24, 32, 4), np.uint8)
        frame[4:12, 6 * number : 6 * number + 8] = (200, 50 * number, 40, 255)
        frames.append(frame)
    path = save(tmp_path / name, frames, disposal=disposal)
    footage = read_video(path)
    expected = by_pillow(path)
    assert torch.equal(footage.alpha, expected[:, 3:])
    seen = expected[:, 3:] > 0
    assert ((footage.colour - expected[:, :3]) * seen).abs().max() < 0.02


@pytest.mark.parametrize("delay, rate", [(100, 10), (130, Fraction(100, 13)), (40, 25)])
def test_an_average_that_the_last_frame_misleads_is_not_taken(tmp_path, delay, rate):
    """The last frame of a GIF says nothing of its delay; ffmpeg's average is 100/9 then for 10."""
    path = save(tmp_path / "a.gif", greys(10), delay)
    data = path.read_bytes()
    start = data.rindex(b"\x21\xf9\x04")
    path.write_bytes(data[:start] + data[start + 8 :])
    footage = read_video(path)
    assert numbers_in(footage) == list(range(10))
    assert footage.fps == rate


def test_an_opaque_gif_has_no_alpha(tmp_path):
    assert read_video(save(tmp_path / "a.gif", greys(3))).alpha is None


def test_a_pngs_stand_in_is_no_frame(tmp_path):
    path = save(tmp_path / "a.png", greys(4), default_image=True)
    assert numbers_in(read_video(path)) == [1, 2, 3]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".apng", ".gif"])
def test_one_frame_is_a_still(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", greys(1))
    footage = read_video(path)
    assert len(footage.colour) == 1
    assert not moves(path)


@pytest.mark.parametrize("premultiplied", [False, True])
@pytest.mark.parametrize("name", ["a.webp", "a.apng"])
def test_premultiplied_animations(tmp_path, name, premultiplied):
    frames = [np.full((8, 8, 4), (60, 30 + number, 0, 128), np.uint8) for number in range(3)]
    footage = read(save(tmp_path / name, frames), premultiplied=premultiplied)
    factor = 255 / 128 if premultiplied else 1
    assert float(footage.colour[:, 0].mean()) == pytest.approx(60 / 255 * factor, abs=0.005)
    assert float(footage.alpha.mean()) == pytest.approx(128 / 255)


def deep_apng(arrays, delay=(1, 10)) -> bytes:
    """An animated PNG of 16 bits (PNG 3rd edition, 11.3.6)."""
    import struct

    chunks = png_chunks(deep_png(arrays[0]))
    height, width, _ = arrays[0].shape
    made = [chunks[0], (b"acTL", struct.pack(">II", len(arrays), 0))]
    sequence = 0
    for number, array in enumerate(arrays):
        control = struct.pack(">IIIIIHHBB", sequence, width, height, 0, 0, *delay, 0, 0)
        made.append((b"fcTL", control))
        sequence += 1
        pixels = png_chunks(deep_png(array))[1][1]
        if number:
            pixels = struct.pack(">I", sequence) + pixels
            sequence += 1
        made.append((b"fdAT" if number else b"IDAT", pixels))
    return png_of([*made, (b"IEND", b"")])


@pytest.mark.parametrize("name", ["a.png", "a.apng"])
def test_animated_png_of_sixteen_bits(tmp_path, name):
    arrays = [
        np.random.default_rng(n).integers(0, 65536, (12, 16, 3)).astype(np.uint16) for n in range(4)
    ]
    (tmp_path / name).write_bytes(deep_apng(arrays))
    footage = read_video(tmp_path / name)
    expected = torch.stack([as_tensor(array) for array in arrays])
    assert footage.fps == 10
    assert (footage.colour - expected).abs().max() < 1e-5


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_cut_animated_png_of_sixteen_bits(tmp_path, share):
    arrays = [
        np.random.default_rng(n).integers(0, 65536, (12, 16, 3)).astype(np.uint16) for n in range(4)
    ]
    data = deep_apng(arrays)
    (tmp_path / "a.apng").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoFileError, match="a.apng"):
        read_video(tmp_path / "a.apng")


@pytest.mark.parametrize(
    "durations, rate",
    [
        ([100, 100], 10),
        ([33, 33, 34], 30),
        ([42, 42, 41], 24),
        ([0, 0], None),
        ([], None),
        ([1e9], None),
        ([0.001] * 3, None),
    ],
)
def test_the_rate_that_is_meant(durations, rate):
    assert meant_rate(durations) == rate
