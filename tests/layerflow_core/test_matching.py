import pytest
import torch

from layerflow_core.errors import FrameError
from layerflow_core.matching import describe, hold, hold_stills, match_matte

CLIP = torch.rand(16, 3, 48, 64)
MASK = torch.rand(16, 1, 48, 64)


def test_a_still_is_held_without_a_copy():
    still = CLIP[:1]
    held = hold(still, 16)
    assert held.shape == CLIP.shape
    assert held.data_ptr() == still.data_ptr()
    assert hold(CLIP, 5) is CLIP


def test_stills_last_as_long_as_the_longest():
    held = hold_stills({"foreground": CLIP[:1], "alpha": MASK, "background": CLIP[:1]})
    assert {len(pixels) for pixels in held.values()} == {16}
    assert hold_stills({}) == {}


@pytest.mark.parametrize("colours, masks", [(16, 16), (16, 1), (1, 16), (1, 1)])
def test_one_image_and_one_mask_stand_for_all(colours, masks):
    colour, alpha = match_matte(CLIP[:colours], MASK[:masks])
    count = max(colours, masks)
    assert colour.shape == (count, 3, 48, 64)
    assert alpha.shape == (count, 1, 48, 64)
    for number in range(count):
        assert torch.equal(colour[number], CLIP[min(number, colours - 1)])
        assert torch.equal(alpha[number], MASK[min(number, masks - 1)])


@pytest.mark.parametrize("masks", [2, 15, 17])
def test_other_lengths_are_refused_with_both(masks):
    with pytest.raises(
        FrameError, match=rf"16 frames of 64 x 48.*{masks} frames of 64 x 48.*may stand for all"
    ):
        match_matte(CLIP, torch.rand(masks, 1, 48, 64))


def test_an_empty_mask_of_load_image_is_named_for_what_it_is(caplog):
    colour, alpha = match_matte(CLIP, torch.ones(1, 1, 64, 64))
    assert alpha.shape == (16, 1, 48, 64)
    assert float(alpha.min()) == 1
    assert "got an empty mask of 1 frame of 64 x 64" in caplog.text
    with pytest.raises(FrameError, match="LoadImage makes it.*set 'alpha_is' to 'transparency"):
        match_matte(CLIP, torch.zeros(1, 1, 64, 64))


def test_a_mask_of_another_size_that_shows_something_is_refused():
    with pytest.raises(FrameError, match="expected equal height and width; resize one"):
        match_matte(CLIP, torch.rand(16, 1, 64, 64))


def test_a_mask_of_the_right_size_may_be_empty():
    assert not match_matte(CLIP, torch.zeros(1, 1, 48, 64))[1].any()


def test_lengths_are_told_as_people_say_them():
    assert describe(CLIP) == "16 frames of 64 x 48"
    assert describe(CLIP[:1]) == "1 frame of 64 x 48"
