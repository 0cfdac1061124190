from fractions import Fraction

import av
import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.layer_files.player_stream import (
    LARGEST_SIDE,
    MOST_BYTES,
    can_record,
    count_repeats,
    record_stream,
)

pytestmark = pytest.mark.skipif(not can_record(), reason="this ffmpeg has no libx264")


def atlases(frames: int, rows: int = 3, height: int = 32, width: int = 48) -> torch.Tensor:
    """Each row has a level of its own that rises from frame to frame."""
    levels = torch.arange(frames * rows).view(frames, rows, 1) / (frames * rows)
    return levels.repeat_interleave(height, 1)[:, None].expand(-1, 3, -1, width)


def decode(path) -> list:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_frames_go_on_untouched_and_into_the_file(tmp_path):
    frames = atlases(4)
    passed = list(record_stream(tmp_path / "a.mp4", frames, 3, 8))
    assert torch.equal(torch.stack(passed), frames)
    for number, frame in enumerate(decode(tmp_path / "a.mp4")[:4]):
        shown = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) / 255
        assert (shown - frames[number]).abs().mean() < 0.02


@pytest.mark.parametrize("fps", [8, Fraction(24000, 1001)])
def test_a_short_clip_is_repeated_evenly_and_begins_with_a_key_frame(tmp_path, fps):
    list(record_stream(tmp_path / "a.mp4", atlases(5), 3, fps))
    decoded = decode(tmp_path / "a.mp4")
    assert len(decoded) % 5 == 0 and len(decoded) / fps >= 10
    times = [float(frame.pts * frame.time_base) for frame in decoded]
    assert all(abs(time - number / fps) < 1e-3 for number, time in enumerate(times))
    first, again = (frame.to_ndarray(format="rgb24") for frame in (decoded[0], decoded[5]))
    assert decoded[5].key_frame and (first == again).all()


def test_repeats_stay_within_their_bytes():
    packets = [(bytes(MOST_BYTES // 4), True)] * 2
    assert count_repeats(packets, Fraction(24)) == 2
    assert count_repeats([(b"", False)] * 240, Fraction(24)) == 1


@pytest.mark.parametrize("size", [(33, 49), (1, 1), (1500, 8)])
def test_odd_tiny_and_very_high_atlases_get_a_size_that_decoders_take(tmp_path, size):
    list(record_stream(tmp_path / "a.mp4", atlases(1, 3, *size), 3, 8))
    frame = decode(tmp_path / "a.mp4")[0]
    assert frame.height % 6 == 0 and frame.width % 2 == 0
    assert max(frame.height, frame.width) <= LARGEST_SIDE


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(VideoFileError, match="a.mp4"):
        list(record_stream(tmp_path / "missing" / "a.mp4", atlases(1), 3, 8))
