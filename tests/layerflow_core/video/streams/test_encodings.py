from fractions import Fraction

import av
import pytest
import torch

from layerflow_core.errors import FrameError, VideoFileError
from layerflow_core.video.files import read_video
from layerflow_core.video.streams import encodings
from layerflow_core.video.streams.encodings import (
    APNG,
    BY_SUFFIX,
    Encoding,
    check_suffix,
    with_alpha,
    write_h264,
    write_opaque,
    write_prores,
    write_stream,
)

ROWS = {name: row for name, row in vars(encodings).items() if isinstance(row, Encoding)}


def smooth(frames: int, channels: int, height: int = 64, width: int = 96) -> torch.Tensor:
    across = torch.linspace(0.2, 0.8, width).expand(frames, channels, height, width).clone()
    across[:, 1] = torch.linspace(0.9, 0.1, height).view(-1, 1)
    return across


@pytest.mark.parametrize("size", [(64, 96), (65, 97)], ids=["even", "odd"])
@pytest.mark.parametrize("name", ROWS)
def test_every_row_keeps_size_rate_and_colours(tmp_path, name, size):
    row = ROWS[name]
    frames = smooth(4, 4 if row.has_alpha else 3, *size)
    row.write(tmp_path / f"a{row.suffix}", frames, Fraction(24000, 1001))
    footage = read_video(tmp_path / f"a{row.suffix}")
    assert footage.colour.shape == (4, 3, *size)
    if row is not APNG:  # whose delays are in whole milliseconds
        assert abs(float(footage.fps) - 24000 / 1001) < 0.01
    assert (footage.colour - frames[:, :3]).abs().mean() < 0.02
    if row.has_alpha:
        assert (footage.alpha - frames[:, 3:]).abs().mean() < 0.02


@pytest.mark.parametrize("name", [name for name in ROWS if name != "APNG"])
def test_yuv_says_what_it_is(tmp_path, name):
    """Untagged files are guessed at, differently by every program."""
    row = ROWS[name]
    row.write(tmp_path / f"a{row.suffix}", smooth(1, 4 if row.has_alpha else 3), 8)
    with av.open(str(tmp_path / f"a{row.suffix}")) as container:
        frame = next(container.decode(video=0))
    assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)


@pytest.mark.parametrize("name", ROWS)
def test_clips_of_one_and_two_frames_are_written_every_time(tmp_path, name):
    """An encoder that leaves time stamps unset fails once in two."""
    row = ROWS[name]
    path = tmp_path / f"a{row.suffix}"
    for count in (1, 2) * 6:
        row.write(path, smooth(count, 4 if row.has_alpha else 3), 8)
        assert read_video(path).colour.shape[0] == count


def test_metadata_of_a_movie_is_found_by_others(tmp_path):
    write_stream(tmp_path / "a.mp4", smooth(1, 3), 8, encodings.H264, {"prompt": {"1": "dog"}})
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["prompt"] == '{"1": "dog"}'


@pytest.mark.parametrize("suffix", BY_SUFFIX)
def test_an_opaque_video_is_encoded_as_its_ending_says(tmp_path, suffix):
    path = tmp_path / f"a{suffix.upper()}"
    write_opaque(path, smooth(2, 3), 8)
    with av.open(str(path)) as container:
        names = {"h264": "libx264", "vp9": "libvpx-vp9", "prores": "prores_ks"}
        assert names[container.streams.video[0].codec_context.name] == BY_SUFFIX[suffix].codec


def test_another_ending_lists_those_there_are(tmp_path):
    for path in (tmp_path / "a.gif", tmp_path / "a"):
        with pytest.raises(VideoFileError, match="expected one of .mp4, .mov, .webm, .mkv"):
            check_suffix(path)


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path):
    def broken():
        yield torch.rand(3, 16, 16)
        raise KeyboardInterrupt

    (tmp_path / "a.mp4").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write_h264(tmp_path / "a.mp4", broken(), 8)
    with pytest.raises(FrameError, match="got no frames"):
        write_h264(tmp_path / "b.mp4", [], 8)
    with pytest.raises(FrameError, match="expected"):
        write_stream(tmp_path / "c.mov", smooth(1, 3), 8, encodings.PRORES_4444)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"before"


def test_an_encoder_that_this_ffmpeg_lacks_is_named(tmp_path):
    unknown = Encoding("no_such_codec", ".mp4", "yuv420p", "rgb24", 255, {})
    with pytest.raises(VideoFileError, match="cannot be written as no_such_codec"):
        write_stream(tmp_path / "a.mp4", smooth(1, 3), 8, unknown)
    assert not list(tmp_path.iterdir())


def test_alpha_goes_along_frame_by_frame(tmp_path):
    colour = smooth(3, 3)
    alpha = torch.linspace(0, 1, 3).view(3, 1, 1, 1).expand(3, 1, 64, 96)
    frames = list(with_alpha(colour, alpha))
    assert len(frames) == 3 and torch.equal(frames[2], torch.cat([colour[2], alpha[2]]))
    write_prores(tmp_path / "a.mov", colour, alpha, 8)
    assert (read_video(tmp_path / "a.mov").alpha - alpha).abs().max() < 0.01
