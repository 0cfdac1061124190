"""Frames gathered: values, growth, and what no memory is there for."""

import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.video import allocation
from layerflow_core.video.frame_buffer import FrameBuffer


@pytest.mark.parametrize("expected", [None, 0, 1, 3, 40, 100])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_more_and_fewer_frames_than_expected(expected, count):
    frames = torch.rand(count, 3, 5, 7)
    buffer = FrameBuffer("a", expected)
    for frame in frames:
        buffer.add(frame)
    colour, alpha = buffer.finish()
    assert len(buffer) == count
    assert torch.equal(colour, frames)
    assert colour.is_contiguous()
    assert alpha is None


@pytest.mark.parametrize("begins", [0, 1, 5, 19])
def test_alpha_that_begins_late_is_opaque_before(begins):
    frames = [torch.rand(4 if number == begins else 3, 5, 7) for number in range(20)]
    buffer = FrameBuffer("a", 4)
    for frame in frames:
        buffer.add(frame)
    colour, alpha = buffer.finish()
    assert torch.equal(colour, torch.stack([frame[:3] for frame in frames]))
    assert torch.equal(alpha[begins], frames[begins][3:])
    others = [number for number in range(20) if number != begins]
    assert alpha[others].min() == 1


def test_full_alpha_is_dropped_only_where_that_is_wanted():
    opaque = torch.ones(4, 2, 2)
    for drops in (False, True):
        buffer = FrameBuffer("a", 2, drops_full_alpha=drops)
        buffer.add(opaque)
        buffer.add(opaque)
        assert (buffer.finish()[1] is None) is drops


def test_the_result_is_not_a_view_that_later_frames_change():
    buffer = FrameBuffer("a", 1)
    frame = torch.rand(3, 2, 2)
    buffer.add(frame)
    colour, _ = buffer.finish()
    frame.zero_()
    assert colour.min() > 0


def test_other_sizes_are_refused_with_both():
    buffer = FrameBuffer("shot", 2)
    buffer.add(torch.rand(3, 5, 7))
    with pytest.raises(VideoFileError, match="shot.*7 x 5 and 8 x 5.*width and height"):
        buffer.add(torch.rand(3, 5, 8))


def test_no_frames():
    with pytest.raises(VideoFileError, match="shot holds no frames"):
        FrameBuffer("shot").finish()


def test_what_will_not_fit_is_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(allocation, "free_memory", lambda: 10**9)
    buffer = FrameBuffer("shot", 1000)
    with pytest.raises(VideoFileError) as caught:
        buffer.add(torch.zeros(3, 1080, 1920))
    message = str(caught.value)
    assert "1000 frames of 1920 x 1080" in message
    assert "24.9 GB" in message
    assert "1.0 GB of memory are free" in message
    assert "count, every" in message
    assert "width, height" in message


def test_growing_beyond_memory_is_refused(monkeypatch):
    buffer = FrameBuffer("shot", 1)
    buffer.add(torch.rand(3, 5, 7))
    monkeypatch.setattr(allocation, "free_memory", lambda: 100)
    with pytest.raises(VideoFileError, match="after 1 frames"):
        buffer.add(torch.rand(3, 5, 7))


def test_an_alpha_that_no_memory_is_there_for(monkeypatch):
    buffer = FrameBuffer("shot", 4)
    buffer.add(torch.rand(3, 5, 7))
    monkeypatch.setattr(allocation, "free_memory", lambda: 100)
    with pytest.raises(VideoFileError, match="1 channels"):
        buffer.add(torch.rand(4, 5, 7))


def test_numbers_that_no_array_can_have(monkeypatch):
    monkeypatch.setattr(allocation, "free_memory", lambda: 10**30)
    with pytest.raises(VideoFileError, match="no memory for"):
        FrameBuffer("shot", 10**15).add(torch.rand(3, 50, 70))
