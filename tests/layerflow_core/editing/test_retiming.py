import pytest

from layerflow_core.editing.retiming import ENDINGS, Retiming, bounce
from layerflow_core.errors import FrameError


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


@pytest.mark.parametrize("count, shown", [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2, 1, 0, 1])])
def test_a_clip_bounces(count, shown):
    assert [bounce(number, count) for number in range(len(shown))] == shown


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Retiming(ending="stop"),
        lambda: Retiming(speed=-1),
    ],
)
def test_bad_input(wrong):
    with pytest.raises(FrameError):
        wrong()
