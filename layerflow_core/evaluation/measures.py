"""The table of measures: what each is called, which way it is better, and the function of a sample that gives it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from ..errors import EvaluationError, FrameError
from .grounds import grounds_psnr, grounds_ssim
from .matte import (
    connectivity_difference,
    dtssd,
    flicker,
    gradient_difference,
    mad,
    mse,
    share_between,
)
from .recomposition import (
    recomposition_psnr,
    recomposition_ssim,
    residual_flicker,
    residual_outside,
)
from .sample import Sample
from .truth import (
    HIDDEN,
    VISIBLE,
    WHOLE,
    background_lpips,
    background_psnr,
    background_ssim,
    foreground_mad,
    foreground_mse,
    of_alpha,
)

MORE, LESS, NEITHER = 1, -1, 0


@dataclass(frozen=True)
class Measure:
    """A row.

    Args:
        group: heading of the table that it stands in.
        title: with its unit, for the head of a column.
        better: ``MORE``, ``LESS`` or ``NEITHER``.
        measure: raises EvaluationError with the reason where a sample cannot be measured so.
        needs_truth: it compares with true layers.
    """

    name: str
    group: str
    title: str
    better: int
    measure: Callable[[Sample], float]
    needs_truth: bool = False


def _alpha_flicker(sample: Sample) -> float:
    return flicker(sample.matte)


def _alpha_between(sample: Sample) -> float:
    return share_between(sample.matte)


RECOMPOSITION = "Foregrounds over background against blended"
ALPHA = "Alpha alone"
TRUE_ALPHA = "Alpha against truth"
TRUE_FOREGROUND = "Foregrounds against truth"
TRUE_BACKGROUND = "Background against truth"

_ALONE = (
    Measure("recomposition_psnr", RECOMPOSITION, "PSNR, dB", MORE, recomposition_psnr),
    Measure("recomposition_ssim", RECOMPOSITION, "SSIM", MORE, recomposition_ssim),
    Measure(
        "residual_outside",
        RECOMPOSITION,
        "share of the residual outside the matte",
        NEITHER,
        residual_outside,
    ),
    Measure(
        "residual_flicker", RECOMPOSITION, "flicker of the residual, 1e-2", LESS, residual_flicker
    ),
    Measure("alpha_flicker", ALPHA, "flicker, 1e-3", LESS, _alpha_flicker),
    Measure("alpha_between", ALPHA, "share between 0.05 and 0.95", NEITHER, _alpha_between),
)


def _of_alpha(name: str, title: str, measure: Callable[[Tensor, Tensor], Tensor]) -> Measure:
    return Measure(f"alpha_{name}", TRUE_ALPHA, title, LESS, of_alpha(measure), True)


_ALPHA = (
    _of_alpha("mad", "MAD, 1e-3", mad),
    _of_alpha("mse", "MSE, 1e-3", mse),
    _of_alpha("grad", "Grad, 1e3", gradient_difference),
    _of_alpha(
        "grad_stretched", "Grad, stretched, 1e3", partial(gradient_difference, stretched=True)
    ),
    _of_alpha("conn", "Conn, 1e3", connectivity_difference),
    _of_alpha("dtssd", "dtSSD, 1e-2", dtssd),
)


def _of_foreground(
    name: str, title: str, better: int, measure: Callable[[Sample], float]
) -> Measure:
    return Measure(name, TRUE_FOREGROUND, title, better, measure, True)


_COLOUR = (
    _of_foreground("foreground_mad", "colour MAD, 1e-3", LESS, foreground_mad),
    _of_foreground("foreground_mse", "colour MSE, 1e-3", LESS, foreground_mse),
    _of_foreground("grounds_psnr", "over nine grounds, dB", MORE, grounds_psnr),
    _of_foreground("grounds_ssim", "over nine grounds, SSIM", MORE, grounds_ssim),
)

_BACKGROUND_MEASURES = (
    ("psnr", "dB", MORE, background_psnr),
    ("ssim", "SSIM", MORE, background_ssim),
    ("lpips", "LPIPS", LESS, background_lpips),
)


def _of_background(region: str) -> tuple[Measure, ...]:
    """The same measures of another region."""
    prefix = "background" if region == WHOLE else f"background_{region}"
    return tuple(
        Measure(
            f"{prefix}_{name}",
            TRUE_BACKGROUND,
            f"{region}, {unit}",
            better,
            partial(measure, region=region),
            True,
        )
        for name, unit, better, measure in _BACKGROUND_MEASURES
    )


_BACKGROUND = (*_of_background(WHOLE), *_of_background(HIDDEN), *_of_background(VISIBLE))

MEASURES: Mapping[str, Measure] = {
    row.name: row for row in (*_ALONE, *_ALPHA, *_COLOUR, *_BACKGROUND)
}


@dataclass(frozen=True)
class Figures:
    """What a sample was measured to be.

    Args:
        values: by measure.
        left_out: by measure, why it has no value.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def joined(self, other: Figures) -> Figures:
        """Both, in the order of the table."""
        values = {**self.values, **other.values}
        left_out = {**self.left_out, **other.left_out}
        return Figures(
            {name: values[name] for name in MEASURES if name in values},
            {name: left_out[name] for name in MEASURES if name in left_out and name not in values},
        )


def measure_sample(sample: Sample, names: Collection[str] | None = None) -> Figures:
    """All that can be measured; what cannot is left out with its reason.

    Args:
        names: of ``MEASURES``; None for all, those against truth only where a truth is given.
    """
    if names is None:
        names = default_names(sample.truth is not None)
    values = {}
    left_out = {}
    for name in names:
        try:
            value = MEASURES[name].measure(sample)
        except (EvaluationError, FrameError) as error:
            left_out[name] = str(error)
            continue
        if math.isfinite(value):
            values[name] = value
        else:
            left_out[name] = f"got {value}: pixels or weights are not finite numbers"
    return Figures(values, left_out)


def default_names(has_truth: bool) -> list[str]:
    """Names of all measures; those against truth only with one."""
    return [name for name, row in MEASURES.items() if has_truth or not row.needs_truth]


def check_names(names: Collection[str]) -> list[str]:
    """The same names; raises EvaluationError for one that is not in the table."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise EvaluationError(
            f"got the measure {ascii(unknown[0])[:100]}, expected some of {', '.join(MEASURES)}"
        )
    return list(names)
