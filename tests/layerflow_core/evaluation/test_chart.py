import torch

from layerflow_core.evaluation.chart import _BAR_FROM, _BAR_TO, WIDTH, draw_chart
from layerflow_core.evaluation.measures import Figures

HALF = Figures({"recomposition_ssim": 0.5})
BLUE = torch.tensor([86, 156, 245]) / 255


def count(chart: torch.Tensor, colour: torch.Tensor) -> int:
    """Pixels of a colour in the row that has most of them."""
    return int(((chart[0] - colour[:, None, None]).abs().amax(0) < 0.01).sum(1).max())


def test_a_bar_is_as_long_as_the_value():
    chart = draw_chart({"result": HALF})
    assert chart.shape[:2] == (1, 3) and chart.shape[3] == WIDTH
    assert 0 <= chart.min() and chart.max() <= 1
    assert abs(count(chart, BLUE) - (_BAR_TO - _BAR_FROM) / 2) <= 1
    full = draw_chart({"result": Figures({"recomposition_ssim": 7.0})})
    assert abs(count(full, BLUE) - (_BAR_TO - _BAR_FROM)) <= 1
    assert count(draw_chart({"result": Figures({"recomposition_ssim": -1.0})}), BLUE) == 0


def test_two_results_stand_below_each_other():
    other = Figures({"recomposition_ssim": 0.25, "alpha_flicker": 10.0})
    two = draw_chart({"result": HALF, "rival": other})
    assert two.shape[2] > draw_chart({"result": HALF}).shape[2] + 20
    assert count(two, torch.tensor([240, 160, 70]) / 255) > 50


def test_no_figures_are_an_empty_chart():
    assert draw_chart({"result": Figures({}, {"alpha_mad": "no truth"})}).shape[3] == WIDTH
