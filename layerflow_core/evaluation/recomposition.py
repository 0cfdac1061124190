"""Whether a result's layers make its blended scene; nothing but the result is needed.

LayerFlow generates the blended scene beside its layers, so what they do not explain can be measured exactly. Ours.
"""

from __future__ import annotations

import torch

from ..errors import EvaluationError
from .fidelity import LEAST_ERROR, frame_psnr, frame_ssim
from .matte import HUNDREDTHS, check_moving
from .sample import Sample


def recomposition_psnr(sample: Sample) -> float:
    """Of foregrounds over background against blended, dB."""
    return frame_psnr(sample.recomposed, sample.blended)


def recomposition_ssim(sample: Sample) -> float:
    """As ``recomposition_psnr``, -1..1."""
    return frame_ssim(sample.recomposed, sample.blended)


def residual_outside(sample: Sample) -> float:
    """Share of the residual's energy outside the matte and its surroundings, 0..1: shadows, or drifting scenes.

    Raises:
        EvaluationError: there is no residual to speak of.
    """
    energy = sample.residual.square().sum(1, keepdim=True)
    if float(energy.mean()) < 3 * LEAST_ERROR:
        raise EvaluationError("there is no residual: blended is what the layers make")
    outside = torch.where(sample.matte_region, 0.0, energy)
    return float(outside.sum(dtype=torch.float64) / energy.sum(dtype=torch.float64))


def residual_flicker(sample: Sample) -> float:
    """Root mean square change of the residual from frame to frame, in hundredths; as dtSSD, over pairs of frames."""
    residual = sample.residual
    check_moving(residual)
    changes = (residual[1:] - residual[:-1]).double().square().mean((1, 2, 3)).sqrt()
    return float(changes.mean()) * HUNDREDTHS
