import pytest
import torch

from layerflow_core.composite import composite_over
from layerflow_core.editing import (
    ENDINGS,
    Refinement,
    Retiming,
    Transform,
    blur,
    bounce,
    choke,
    dilate,
    estimate_foreground,
    paste,
    refine,
    transform,
    transform_layer,
)
from layerflow_core.errors import FrameError
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.rgba import over
from layerflow_core.toy.world import draw_scene, render

TRUE = render(draw_scene(8))


def disc(x: float, y: float, size: int = 64, radius: float = 14.0) -> torch.Tensor:
    """Alpha of a disc with an edge one pixel wide, [1, 1, H, W]: moving it is known exactly."""
    down, right = torch.meshgrid(
        torch.arange(size).float(), torch.arange(size).float(), indexing="ij"
    )
    return (radius + 0.5 - ((right - x) ** 2 + (down - y) ** 2).sqrt()).clamp(0, 1)[None, None]


def image_of(alpha: torch.Tensor, inside=(0.9, 0.3, 0.1), outside=(0.0, 1.0, 0.0)) -> torch.Tensor:
    """Straight colour that is something quite different where nothing is to be seen."""
    inside, outside = (torch.tensor(c).view(1, 3, 1, 1) for c in (inside, outside))
    return torch.where(alpha > 0, inside, outside)


@pytest.mark.parametrize("background", [0.0, 0.5, 1.0])
def test_a_sub_pixel_move_leaves_no_fringe(background):
    """Against the disc drawn where it should be; a fringe would be the green that lies outside of it, or black."""
    alpha = disc(30, 30)
    colour, moved = transform_layer(image_of(alpha), alpha, Transform(x=3.4, y=-2.7))
    expected = disc(33.4, 27.3)
    behind = torch.full((1, 3, 64, 64), background)
    assert (moved - expected).abs().max() < 0.25, (
        "bilinear softens a one-pixel edge by a quarter at most"
    )
    edge = moved > 0.02
    assert (colour - torch.tensor([0.9, 0.3, 0.1]).view(1, 3, 1, 1)).abs()[
        edge.expand(-1, 3, -1, -1)
    ].max() < 1e-4
    met, true = over(colour, moved, behind), over(image_of(expected), expected, behind)
    assert (
        (met - true).abs().max() < 0.25
        and met.min() >= min(0.1, background) - 1e-5
        and met.max() <= max(0.9, background) + 1e-5
    )


def test_whole_pixels_are_moved_exactly_and_back():
    colour, alpha = transform_layer(TRUE.foreground, TRUE.alpha, Transform(x=5, y=-3))
    seen = TRUE.alpha[:, :, 3:, :-5] > 0
    assert torch.equal(alpha[:, :, :-3, 5:], TRUE.alpha[:, :, 3:, :-5])
    assert (colour[:, :, :-3, 5:] - TRUE.foreground[:, :, 3:, :-5]).abs()[
        seen.expand(-1, 3, -1, -1)
    ].max() < 1e-5
    assert transform(TRUE.alpha, Transform(x=1000)).abs().max() == 0
    same = transform_layer(TRUE.foreground, TRUE.alpha, Transform())
    assert torch.equal(same[0], TRUE.foreground) and torch.equal(same[1], TRUE.alpha)


@pytest.mark.parametrize(
    "move, expected",
    [
        (Transform(rotate=90), (40.0, 31.5)),
        (Transform(rotate=-90), (23.0, 31.5)),
        (Transform(rotate=180), (31.5, 40.0)),
        (Transform(scale=2), (31.5, 14.5)),
        (Transform(scale=0.5), (31.5, 27.25)),
        (Transform(scale=0.5, x=10, y=4), (41.5, 31.25)),
    ],
)
def test_the_middle_goes_where_it_should(move, expected):
    alpha = disc(31.5, 23.0, radius=6)
    moved = transform(alpha, move)[0, 0]
    down, right = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    middle = tuple(float((moved * axis).sum() / moved.sum()) for axis in (right, down))
    assert middle == pytest.approx(expected, abs=0.15)
    assert float(moved.sum()) == pytest.approx(float(alpha.sum()) * move.scale**2, rel=0.03)


@pytest.mark.parametrize(
    "retiming, expected",
    [
        (Retiming(), [0, 1, 2, 3, 4, 5]),
        (Retiming(reverse=True), [5, 4, 3, 2, 1, 0]),
        (Retiming(speed=2), [0, 2, 4, 5, 5, 5]),
        (Retiming(speed=2, ending="loop"), [0, 2, 4, 0, 2, 4]),
        (Retiming(speed=2, ending="bounce"), [0, 2, 4, 4, 2, 0]),
        (Retiming(freeze=2), [0, 1, 2, 2, 2, 2]),
        (Retiming(start=2), [0, 0, 0, 1, 2, 3]),
        (Retiming(speed=0), [0] * 6),
    ],
)
def test_retiming(retiming, expected):
    assert retiming.frames(6) == expected
    assert all(Retiming(speed=3, ending=ending).frames(1) == [0] for ending in ENDINGS)


def test_residual_makes_the_composite_exact():
    shadow = TRUE.blended * 0.8
    layers = LayerVideo(
        (Foreground("foreground", TRUE.foreground, TRUE.alpha),),
        TRUE.background.contiguous(),
        shadow,
        8.0,
    ).with_residual()
    again = composite_over(TRUE.foreground, TRUE.alpha, layers.background) + layers.residual
    assert (again - shadow).abs().max() < 1e-6
    with pytest.raises(FrameError, match="no blended scene"):
        LayerVideo(layers.foregrounds, layers.background, None, 8.0).with_residual()


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


@pytest.mark.parametrize("count, shown", [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2, 1, 0, 1])])
def test_a_clip_bounces(count, shown):
    assert [bounce(number, count) for number in range(len(shown))] == shown


@pytest.mark.parametrize("x, y", [(0, 0), (2, 1), (-1, -2), (9, 0), (0, -9)])
def test_pasting_cuts_and_uncovers(x, y):
    pixels = torch.rand(2, 3, 4, 5)
    canvas = paste(pixels, (6, 7), x, y)
    assert canvas.shape == (2, 3, 6, 7)
    for row in range(6):
        for column in range(7):
            inside = 0 <= row - y < 4 and 0 <= column - x < 5
            expected = pixels[:, :, row - y, column - x] if inside else torch.zeros(2, 3)
            assert torch.equal(canvas[:, :, row, column], expected)


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
        lambda: Transform(scale=0),
        lambda: Transform(x=float("nan")),
        lambda: Retiming(ending="stop"),
        lambda: Retiming(speed=-1),
        lambda: Refinement(low=0.6, high=0.4),
        lambda: Refinement(spill="red"),
        lambda: transform_layer(TRUE.foreground, TRUE.alpha[:3], Transform()),
    ],
)
def test_bad_input(wrong):
    with pytest.raises(FrameError):
        wrong()
