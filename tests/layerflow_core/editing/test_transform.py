import pytest
import torch

from layerflow_core.editing.transform import Transform, paste, transform, transform_layer
from layerflow_core.errors import FrameError
from layerflow_core.rgba import over
from layerflow_core.toy.world import draw_scene, render

from .discs import disc, image_of

TRUE = render(draw_scene(8))


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


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Transform(scale=0),
        lambda: Transform(x=float("nan")),
        lambda: transform_layer(TRUE.foreground, TRUE.alpha[:3], Transform()),
    ],
)
def test_bad_input(wrong):
    with pytest.raises(FrameError):
        wrong()
