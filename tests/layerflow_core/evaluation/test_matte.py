import sys

import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.matte import (
    connectivity_difference,
    dtssd,
    flicker,
    gradient_difference,
    mad,
    mse,
    share_between,
)


def disc(centre_x: float, centre_y: float, radius: float, softness: float) -> torch.Tensor:
    """[1, 48, 64] in 8 bits, as the known answers were made."""
    y, x = torch.meshgrid(
        torch.arange(48, dtype=torch.float64), torch.arange(64, dtype=torch.float64), indexing="ij"
    )
    distance = torch.hypot(x - centre_x, y - centre_y)
    alpha = ((radius - distance) / softness + 0.5).clamp(0, 1)
    return ((alpha * 255).round() / 255).float()[None]


TRUE = torch.stack([disc(30, 24, 14, 6), disc(32, 24, 14, 6)])
MADE = torch.stack([disc(31, 24, 14, 6), disc(32.5, 25, 13, 8)])
KNOWN = {
    mad: (18.231720, 30.281097),
    mse: (2.288713, 6.266315),
    gradient_difference: (0.045009, 0.124214),
    connectivity_difference: (0.051769, 0.092886),
    dtssd: (0, 9.220262),
}


@pytest.mark.parametrize("measure", KNOWN, ids=lambda measure: measure.__name__)
def test_known_answers(measure):
    if measure is connectivity_difference:
        pytest.importorskip("scipy")
    assert measure(MADE, TRUE).tolist() == pytest.approx(KNOWN[measure], abs=1e-5)
    assert measure(TRUE, TRUE).tolist() == [0, 0]


def test_known_answers_of_an_alpha_that_is_too_weak():
    weak = MADE[1:] * 0.8
    assert gradient_difference(weak, TRUE[1:], stretched=True).item() == pytest.approx(
        0.124214, abs=1e-5
    )
    assert gradient_difference(weak, TRUE[1:]).item() == pytest.approx(0.179513, abs=1e-5)
    pytest.importorskip("scipy")
    assert connectivity_difference(weak, TRUE[1:]).item() == pytest.approx(0.208603, abs=1e-5)


def test_nothing_is_connected_where_one_is_empty():
    pytest.importorskip("scipy")
    empty = torch.zeros_like(TRUE)
    assert (connectivity_difference(empty, TRUE) > connectivity_difference(MADE, TRUE)).all()
    assert gradient_difference(empty, TRUE, stretched=True).isfinite().all()


def test_connectivity_names_the_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(EvaluationError, match="Conn needs the package scipy.*pip install scipy"):
        connectivity_difference(MADE, TRUE)


def test_one_frame_has_no_change():
    for measure in (lambda: dtssd(MADE[:1], TRUE[:1]), lambda: flicker(MADE[:1])):
        with pytest.raises(EvaluationError, match="got one frame, expected two"):
            measure()


def test_flicker_and_softness_of_one_alpha():
    steady = TRUE[:1].expand(4, -1, -1, -1)
    assert flicker(steady) == 0
    assert flicker(torch.tensor([0.0, 0.1, 0.0]).view(3, 1, 1, 1)) == pytest.approx(100)
    values = torch.tensor([0.0, 0.05, 0.5, 0.94, 0.95, 1.0]).view(1, 1, 1, 6)
    assert share_between(values) == pytest.approx(2 / 6)
