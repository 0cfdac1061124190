"""The table of measures: what each is called, which way it is better, and the function of a sample that gives it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

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
        title: with its unit, for the head of a column.
        better: ``MORE``, ``LESS`` or ``NEITHER``.
        measure: raises EvaluationError with the reason where a sample cannot be measured so.
        needs_truth: it compares with true layers.
    """

    name: str
    title: str
    better: int
    measure: Callable[[Sample], float]
    needs_truth: bool = False


def _alpha_flicker(sample: Sample) -> float:
    return flicker(sample.matte)


def _alpha_between(sample: Sample) -> float:
    return share_between(sample.matte)


_ALONE = (
    Measure("recomposition_psnr", "recomposition, dB", MORE, recomposition_psnr),
    Measure("recomposition_ssim", "recomposition, SSIM", MORE, recomposition_ssim),
    Measure("residual_outside", "residual outside the matte, share", NEITHER, residual_outside),
    Measure("residual_flicker", "residual flicker, 1e-2", LESS, residual_flicker),
    Measure("alpha_flicker", "alpha flicker, 1e-3", LESS, _alpha_flicker),
    Measure("alpha_between", "alpha between 0 and 1, share", NEITHER, _alpha_between),
)

_stretched = partial(gradient_difference, stretched=True)
_ALPHA = (
    Measure("alpha_mad", "alpha MAD, 1e-3", LESS, of_alpha(mad), True),
    Measure("alpha_mse", "alpha MSE, 1e-3", LESS, of_alpha(mse), True),
    Measure("alpha_grad", "alpha Grad, 1e3", LESS, of_alpha(gradient_difference), True),
    Measure("alpha_grad_stretched", "alpha Grad, stretched, 1e3", LESS, of_alpha(_stretched), True),
    Measure("alpha_conn", "alpha Conn, 1e3", LESS, of_alpha(connectivity_difference), True),
    Measure("alpha_dtssd", "alpha dtSSD, 1e-2", LESS, of_alpha(dtssd), True),
)
_COLOUR = (
    Measure("foreground_mad", "foreground MAD, 1e-3", LESS, foreground_mad, True),
    Measure("foreground_mse", "foreground MSE, 1e-3", LESS, foreground_mse, True),
    Measure("grounds_psnr", "over nine grounds, dB", MORE, grounds_psnr, True),
    Measure("grounds_ssim", "over nine grounds, SSIM", MORE, grounds_ssim, True),
)


def _of_background(region: str) -> tuple[Measure, ...]:
    """The same three measures of another region."""
    name = "background" if region == WHOLE else f"background_{region}"
    title = name.replace("_", ", ")
    psnr = partial(background_psnr, region=region)
    ssim = partial(background_ssim, region=region)
    lpips = partial(background_lpips, region=region)
    return (
        Measure(f"{name}_psnr", f"{title}, dB", MORE, psnr, True),
        Measure(f"{name}_ssim", f"{title}, SSIM", MORE, ssim, True),
        Measure(f"{name}_lpips", f"{title}, LPIPS", LESS, lpips, True),
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
