import numpy as np
import pytest
import torch

from layerflow_core.errors import FrameError
from layerflow_core.video.pixels import from_array, to_array, to_arrays


@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_whole_numbers_come_back(top, channels):
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(0, top + 1, (channels, 5, 7), generator=generator)
    array = to_array(whole / top, top)
    assert array.shape == (5, 7, channels) and array.dtype.itemsize == (1 if top == 255 else 2)
    assert np.array_equal(array, whole.permute(1, 2, 0).numpy())
    assert torch.allclose(from_array(array), whole / top, atol=1e-7)


def test_values_are_rounded_and_kept_within_the_range():
    image = torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 3.0]).view(1, 1, 6)
    assert to_array(image, 255).flatten().tolist() == [0, 0, 0, 1, 255, 255]


def test_a_white_below_the_largest_number_is_1_and_what_is_above_it_too():
    array = np.array([[[512, 1023, 2000, 64]]], np.uint16)
    red, green, blue, alpha = from_array(array, (1023, 128)).flatten().tolist()
    assert red == pytest.approx(512 / 1023) and (green, blue, alpha) == (1, 1, 0.5)


def test_floats_stay_as_they_are():
    array = np.array([[[0.25, -1.0, 7.0]]], np.float32)
    assert from_array(array).flatten().tolist() == [0.25, -1.0, 7.0]


def test_frames_are_all_alike_and_there_is_one_at_least():
    frames = [torch.rand(3, 4, 4), torch.rand(3, 4, 5)]
    with pytest.raises(
        FrameError, match=r"a.mp4: got frame 1 of \[3, 4, 5\], expected \[3, 4, 4\]"
    ):
        list(to_arrays(frames, 255, "a.mp4"))
    with pytest.raises(FrameError, match=r"got frame 0 of \[3, 4, 4\], expected \[4, 4, 4\]"):
        list(to_arrays(frames, 255, "a.mov", 4))
    with pytest.raises(FrameError, match="got no frames"):
        list(to_arrays([], 255, "a.mp4"))
    assert len(list(to_arrays(frames[:1], 255, "a.mp4"))) == 1
