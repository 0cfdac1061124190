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
from .paper import (
    LAYERS,
    Look,
    aesthetic_quality,
    clip_consistency,
    dino_consistency,
    dynamic_degree,
    of_layer,
    spread_over_grounds,
    text_alignment,
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
        full: value that fills a chart's bar.
        measure: raises EvaluationError with the reason where a sample cannot be measured so.
        needs_truth: it compares with true layers.
        needs_network: it looks with a network of the user's.
    """

    name: str
    group: str
    title: str
    better: int
    full: float
    measure: Callable[[Sample], float]
    needs_truth: bool = False
    needs_network: bool = False


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
    Measure("recomposition_psnr", RECOMPOSITION, "PSNR, dB", MORE, 50, recomposition_psnr),
    Measure("recomposition_ssim", RECOMPOSITION, "SSIM", MORE, 1, recomposition_ssim),
    Measure(
        "residual_outside",
        RECOMPOSITION,
        "share of the residual outside the matte",
        NEITHER,
        1,
        residual_outside,
    ),
    Measure(
        "residual_flicker",
        RECOMPOSITION,
        "flicker of the residual x 100",
        LESS,
        5,
        residual_flicker,
    ),
    Measure("alpha_flicker", ALPHA, "flicker x 1000", LESS, 50, _alpha_flicker),
    Measure("alpha_between", ALPHA, "share between 0.05 and 0.95", NEITHER, 1, _alpha_between),
)


def _of_alpha(
    name: str, title: str, full: float, measure: Callable[[Tensor, Tensor], Tensor]
) -> Measure:
    return Measure(f"alpha_{name}", TRUE_ALPHA, title, LESS, full, of_alpha(measure), True)


_stretched = partial(gradient_difference, stretched=True)
_ALPHA = (
    _of_alpha("mad", "MAD x 1000", 200, mad),
    _of_alpha("mse", "MSE x 1000", 100, mse),
    _of_alpha("grad", "Grad / 1000", 20, gradient_difference),
    _of_alpha("grad_stretched", "Grad, stretched / 1000", 20, _stretched),
    _of_alpha("conn", "Conn / 1000", 20, connectivity_difference),
    _of_alpha("dtssd", "dtSSD x 100", 20, dtssd),
)

_COLOUR = (
    Measure(
        "foreground_mad", TRUE_FOREGROUND, "colour MAD x 1000", LESS, 200, foreground_mad, True
    ),
    Measure(
        "foreground_mse", TRUE_FOREGROUND, "colour MSE x 1000", LESS, 100, foreground_mse, True
    ),
    Measure("grounds_psnr", TRUE_FOREGROUND, "over nine grounds, dB", MORE, 50, grounds_psnr, True),
    Measure(
        "grounds_ssim", TRUE_FOREGROUND, "over nine grounds, SSIM", MORE, 1, grounds_ssim, True
    ),
)

_BACKGROUND_MEASURES = (
    ("psnr", "dB", MORE, 50, background_psnr),
    ("ssim", "SSIM", MORE, 1, background_ssim),
    ("lpips", "LPIPS", LESS, 1, background_lpips),
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
            full,
            partial(measure, region=region),
            needs_truth=True,
            needs_network=name == "lpips",
        )
        for name, unit, better, full, measure in _BACKGROUND_MEASURES
    )


_BACKGROUND = (*_of_background(WHOLE), *_of_background(HIDDEN), *_of_background(VISIBLE))

PAPER = "As in the paper's tables 1 and 3"

_PAPER_MEASURES = (
    ("dynamic_degree", "dynamic degree", 1, dynamic_degree),
    ("aesthetic_quality", "aesthetic quality", 1, aesthetic_quality),
    ("text_alignment", "text alignment", 0.364, text_alignment),
    ("dino_consistency", "frame consistency, DINO", 1, dino_consistency),
    ("clip_consistency", "frame consistency, CLIP", 1, clip_consistency),
)
"""The third is full at the largest value that VBench has met."""


def _of_paper(name: str, title: str, full: float, look: Look) -> tuple[Measure, ...]:
    """A measure of each layer, and what the ground under a foreground does to it."""
    rows = [
        _looking(f"{name}_{layer}", f"{title}, {layer}", MORE, full, of_layer(look, layer))
        for layer in LAYERS
    ]
    spread = spread_over_grounds(look)
    title = f"{title}, spread over grounds"
    return (*rows, _looking(f"{name}_spread", title, LESS, full, spread))


def _looking(
    name: str, title: str, better: int, full: float, measure: Callable[[Sample], float]
) -> Measure:
    return Measure(name, PAPER, title, better, full, measure, needs_network=True)


_PAPER = tuple(row for measure in _PAPER_MEASURES for row in _of_paper(*measure))

MEASURES: Mapping[str, Measure] = {
    row.name: row for row in (*_PAPER, *_ALONE, *_ALPHA, *_COLOUR, *_BACKGROUND)
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


def default_names(has_truth: bool, by_network: bool = True) -> list[str]:
    """Names of all measures; those against truth only with one, those that look with networks only if wanted."""
    return [
        name
        for name, row in MEASURES.items()
        if (has_truth or not row.needs_truth) and (by_network or not row.needs_network)
    ]


def check_names(names: Collection[str]) -> list[str]:
    """The same names; raises EvaluationError for one that is not in the table."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise EvaluationError(
            f"got the measure {ascii(unknown[0])[:100]}, expected some of {', '.join(MEASURES)}"
        )
    return list(names)


def choosing_names() -> list[str]:
    """Names of measures without networks that say which of two results is better."""
    return [name for name in default_names(True, False) if MEASURES[name].better != NEITHER]


def is_better(name: str, value: float, other: float) -> bool:
    """Whether one value of a measure is better than another; raises EvaluationError for one that does not say."""
    way = MEASURES[name].better
    if way == NEITHER:
        raise EvaluationError(f"{name} does not say which result is better: choose another measure")
    return way * value > way * other


def score_of(figures: Figures, name: str, whose: str) -> float:
    """The value of one measure; raises EvaluationError, with the reason, where there is none.

    Args:
        whose: result it is, for the message.
    """
    if name not in figures.values:
        needs = (
            "it is measured against true layers" if MEASURES[name].needs_truth else "not measured"
        )
        reason = figures.left_out.get(name, needs)
        raise EvaluationError(f"{whose} has no {name}: {reason}")
    return figures.values[name]
