"""Video streams: alpha, covers, sounds, sizes that change, and what cannot be decoded."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.video.files import FrameSelection, read_video, read_with_matte

from ..clips import as_tensor, decoded, greys, images, numbers_in, read, write_video

av = pytest.importorskip("av")
ALPHA_CODECS = {
    "png.mov": ("png", "rgba", 0),
    "qtrle.mov": ("qtrle", "argb", 0),
    "ffv1.mkv": ("ffv1", "bgra", 0),
    "prores.mov": ("prores_ks", "yuva444p10le", 0.03),
    "vp9.webm": ("libvpx-vp9", "yuva420p", 0.05),
    "vp8.webm": ("libvpx", "yuva420p", 0.08),
}


def with_alpha(count=4):
    """Smooth colour and alpha, [H, W, 4] bytes."""
    frames = []
    for number, array in enumerate(images(count)):
        ramp = np.linspace(0, 255, array.shape[1]).astype(np.uint8)
        alpha = np.broadcast_to(np.roll(ramp, 0)[None], array.shape[:2])
        frames.append(np.dstack([array, alpha // 2 + 20 * number]))
    return frames


@pytest.mark.parametrize("name", ALPHA_CODECS)
def test_alpha_of_every_codec_that_has_it(tmp_path, name):
    codec, pixel_format, tolerance = ALPHA_CODECS[name]
    frames = with_alpha()
    options = {"auto-alt-ref": "0", "crf": "4", "b": "4M"} if name.endswith("webm") else {}
    metadata = {"alpha_mode": "1"} if name.endswith("webm") else {}
    path = write_video(
        tmp_path / name, frames, codec, pixel_format, options=options, metadata=metadata
    )
    footage = read_video(path)
    expected = torch.stack([as_tensor(frame) for frame in frames])
    assert footage.alpha is not None
    assert (footage.alpha - expected[:, 3:]).abs().max() <= tolerance + 1e-6
    assert (footage.colour - expected[:, :3]).abs().mean() <= tolerance + 1e-6


@pytest.mark.parametrize("name", ["png.mov", "ffv1.mkv"])
def test_premultiplied_streams(tmp_path, name):
    codec, pixel_format, _ = ALPHA_CODECS[name]
    frames = [np.full((16, 16, 4), (60, 30, 0, 128), np.uint8)] * 2
    path = write_video(tmp_path / name, frames, codec, pixel_format)
    footage = read(path, premultiplied=True)
    assert (footage.colour[0, :, 0, 0] * 128).tolist() == pytest.approx([60, 30, 0], abs=0.5)
    assert (read(path).colour[0, :, 0, 0] * 255).tolist() == pytest.approx([60, 30, 0], abs=0.5)


def test_a_premultiplied_colour_whose_matte_is_another_file(tmp_path):
    write_video(tmp_path / "fill.mp4", [np.full((16, 16, 3), 60, np.uint8)] * 2)
    write_video(tmp_path / "key.mp4", [np.full((16, 16, 3), 128, np.uint8)] * 2)
    footage = read_with_matte(
        tmp_path / "fill.mp4", tmp_path / "key.mp4", FrameSelection(premultiplied=True)
    )
    assert float(footage.alpha.mean()) == pytest.approx(128 / 255, abs=1e-3)
    assert float(footage.colour.mean()) == pytest.approx(60 / 128, abs=5e-3)


def test_a_matte_is_picked_as_its_clip(tmp_path):
    write_video(tmp_path / "fill.mp4", greys(10), "libx264", "yuv420p", 20)
    write_video(tmp_path / "key.mp4", greys(10), "libx264", "yuv420p", 20)
    footage = read_with_matte(
        tmp_path / "fill.mp4", tmp_path / "key.mp4", FrameSelection(fps=10, start=1)
    )
    assert numbers_in(footage) == [2, 4, 6, 8]
    assert torch.allclose(footage.alpha, footage.colour.mean(1, keepdim=True), atol=1e-4)


def test_frames_are_those_that_pyav_decodes(tmp_path):
    path = write_video(tmp_path / "a.mp4", images(12), "libx264rgb", "rgb24", Fraction(24000, 1001))
    assert torch.equal(read_video(path).colour, decoded(path))


def write_sound(path, with_cover: bool) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("flac" if path.suffix == ".mkv" else "aac", rate=44100)
        cover = container.add_stream("mjpeg", rate=1) if with_cover else None
        if cover is not None:
            cover.width = 32
            cover.height = 32
            cover.pix_fmt = "yuvj420p"
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.int16), format="s16", layout="mono"
        )
        silence.rate = 44100
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
        if cover is not None:
            image = av.VideoFrame.from_ndarray(images(1, 32, 32)[0], "rgb24")
            container.mux(cover.encode(image))
            container.mux(cover.encode(None))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_alone_is_no_video(tmp_path, suffix):
    write_sound(tmp_path / f"a{suffix}", False)
    with pytest.raises(VideoFileError, match="holds no video stream"):
        read_video(tmp_path / f"a{suffix}")


def test_a_sound_that_outlasts_the_image_is_no_damage(tmp_path, caplog):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        for number, array in enumerate(greys(5)):
            frame = av.VideoFrame.from_ndarray(array, "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for number in range(200):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.rate = 44100
            silence.pts = 1024 * number
            container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    assert len(read_video(path).colour) == 5
    assert not caplog.records


def test_a_size_that_changes_midway_is_said_or_brought_to_one(tmp_path):
    parts = []
    for size in (32, 48):
        path = write_video(tmp_path / f"{size}.ts", images(6, size, size), "libx264", "yuv420p")
        parts.append(path.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    with pytest.raises(VideoFileError, match="a.ts"):
        read_video(tmp_path / "a.ts")


def test_a_codec_that_nobody_knows_is_a_typed_error(tmp_path):
    path = write_video(tmp_path / "a.mkv", greys(3), "ffv1", "bgr0")
    data = path.read_bytes()
    if data.count(b"V_FFV1") != 1:
        pytest.skip("this ffmpeg writes FFV1 under another name")
    path.write_bytes(data.replace(b"V_FFV1", b"V_ABC1"))
    with pytest.raises(VideoFileError, match="a codec that this ffmpeg does not know"):
        read_video(path)


@pytest.mark.parametrize(
    "name",
    [
        "a b.mp4",
        "ünï.mp4",
        "%d.mp4",
        "a%03d.mp4",
        "[0-9].mp4",
        "concat:x.mp4",
        "a?b#c.mp4",
        "-i.mp4",
    ],
)
def test_names_that_mean_something_to_ffmpeg(tmp_path, name):
    made = write_video(tmp_path / "plain.mp4", greys(3), "libx264", "yuv420p")
    made.rename(tmp_path / name)
    assert numbers_in(read_video(tmp_path / name)) == [0, 1, 2]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 2), (1, 33)])
def test_odd_and_tiny_sizes(tmp_path, size):
    arrays = images(2, *size)
    path = write_video(tmp_path / "a.mkv", arrays, "ffv1", "bgr0")
    assert torch.equal(read_video(path).colour, torch.stack([as_tensor(array) for array in arrays]))


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le", "gray16le"])
def test_grey_video_is_grey(tmp_path, pixel_format):
    path = write_video(
        tmp_path / "a.mkv",
        [np.full((32, 32, 3), 128, np.uint8)] * 2,
        "ffv1",
        pixel_format,
        tags=(2, 2, 2, 2),
    )
    colour = read_video(path).colour
    assert float(colour.mean()) == pytest.approx(128 / 255, abs=0.005)
    assert torch.equal(colour[:, 0], colour[:, 2])
