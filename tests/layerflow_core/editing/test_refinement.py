import pytest
import torch

from layerflow_core.editing.refinement import (
    Refinement,
    blur,
    choke,
    dilate,
    estimate_foreground,
    refine,
)
from layerflow_core.errors import FrameError
from layerflow_core.rgba import over

from .discs import disc, image_of


def test_choke_moves_the_edge_by_pixels():
    alpha = disc(32, 32, radius=14)
    for pixels in (-3, -0.5, 0, 0.5, 2):
        width = float(choke(alpha, pixels)[0, 0, 32].sum())
        assert width == pytest.approx(float(alpha[0, 0, 32].sum()) - 2 * pixels, abs=0.3)


def test_masks_grow_and_shrink():
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 8:12, 8:12] = 1
    assert dilate(mask, 1).sum() == 36
    assert dilate(mask, -1).sum() == 4
    assert torch.equal(dilate(mask, 0), mask)


def test_feather_keeps_the_sum_and_threshold_hardens():
    alpha = disc(32, 32)
    assert float(blur(alpha, 2.0).sum()) == pytest.approx(float(alpha.sum()), rel=1e-3)
    _, hard = refine(image_of(alpha), alpha, Refinement(low=0.45, high=0.55))
    assert (hard * (1 - hard)).sum() < 0.2 * (alpha * (1 - alpha)).sum()


def test_fringe_is_taken_out():
    """A red disc shot on green: its edge pixels carry green, which a new background would show."""
    alpha = blur(disc(32, 32), 1.5)
    red, green = (
        torch.tensor(c).view(1, 3, 1, 1).expand(-1, -1, 64, 64)
        for c in ((0.9, 0.1, 0.1), (0.1, 0.9, 0.1))
    )
    footage, new = over(red, alpha, green), torch.full((1, 3, 64, 64), 0.5)
    true = over(red, alpha, new)
    before = (over(footage, alpha, new) - true).abs()
    refined, matte = refine(footage, alpha, Refinement(fringe=20))
    after = (over(refined, matte, new) - true).abs()
    assert after.max() < 0.35 * before.max() and after.mean() < 0.2 * before.mean()
    assert torch.equal(estimate_foreground(footage, torch.ones_like(alpha), 20), footage)
    spilled, _ = refine(footage, alpha, Refinement(spill="green"))
    assert (spilled[:, 1] <= spilled[:, [0, 2]].amax(1) + 1e-6).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Refinement(low=0.6, high=0.4),
        lambda: Refinement(spill="red"),
    ],
)
def test_bad_input(wrong):
    with pytest.raises(FrameError):
        wrong()
