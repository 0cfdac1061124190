"""The measures of the paper's tables 1 and 3, layer by layer, by VBench's definitions and its preprocessing.

A foreground is looked at over mid grey, as the model draws it. What a measure changes over black and white says whether
its alpha is what grey hides.

Legend: N frames, H height, W width, D width of a feature; 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EvaluationError
from ..layout import BACKGROUND, BLENDED, FOREGROUND
from .grounds import GROUNDS, composite
from .matte import check_moving
from .networks.preprocessing import to_bytes
from .sample import Sample

GREY = (0.5, 0.5, 0.5)
LAYERS = (FOREGROUND, BACKGROUND, BLENDED)
_RATE = 8  # frames per second that motion is looked at
_TOP_SHARE = 0.05  # of the pixels, those that move most
_MOTION = 6.0 / 256  # of the smaller side
_PAIRS = 4 / 16  # that must move, of the frames


@dataclass(frozen=True)
class Clip:
    """One layer as it is looked at.

    Args:
        frames: [N, 3, H, W].
        name: of the layer, by which its prompt is known.
    """

    frames: Tensor
    name: str
    fps: float


Look = Callable[[Clip, Sample], float]


def of_layer(look: Look, layer: str) -> Callable[[Sample], float]:
    """A measure of one kind of layer, the mean over several foregrounds; those over mid grey."""

    def measure(sample: Sample) -> float:
        return _mean(look, sample, layer, GREY)

    return measure


def spread_over_grounds(look: Look) -> Callable[[Sample], float]:
    """Largest less smallest value of a foreground over grey, black and white."""

    def measure(sample: Sample) -> float:
        grounds = (GREY, GROUNDS["black"], GROUNDS["white"])
        values = [_mean(look, sample, FOREGROUND, ground) for ground in grounds]
        return max(values) - min(values)

    return measure


def dynamic_degree(clip: Clip, sample: Sample) -> float:
    """1 for a clip that moves, else 0 (VBench ``dynamic_degree.py``); the mean over clips is the paper's figure."""
    frames = to_bytes(clip.frames[:: max(1, round(clip.fps / _RATE))])
    check_moving(frames)
    flow = sample.networks.flow
    motions = []
    for number in range(len(frames) - 1):
        pair = flow.between(frames[number : number + 1], frames[number + 1 : number + 2])
        motions.append(largest_motion(pair))
    return float(is_dynamic(motions, len(frames), min(frames.shape[2:])))


def largest_motion(flow: Tensor) -> float:
    """Mean length of the longest twentieth of the vectors [2, H, W], pixels."""
    lengths = flow.norm(dim=0).flatten()
    return float(lengths.topk(int(_TOP_SHARE * len(lengths))).values.mean())


def is_dynamic(motions: list[float], frames: int, side: int) -> bool:
    """Whether enough pairs of frames move.

    Args:
        motions: ``largest_motion`` of each pair.
        side: the smaller one, pixels.
    """
    moving = sum(motion > _MOTION * side for motion in motions)
    return moving >= round(_PAIRS * frames)


def aesthetic_quality(clip: Clip, sample: Sample) -> float:
    """Mean over frames, about 0..1 (VBench ``aesthetic_quality.py``)."""
    features = sample.networks.clip_l14.encode(to_bytes(clip.frames))
    return float(sample.networks.aesthetic.score(features).mean())


def text_alignment(clip: Clip, sample: Sample) -> float:
    """Raw cosine of the clip and its layer's prompt, -1..1 (VBench ``overall_consistency.py``)."""
    text = sample.prompts.get(clip.name, "").strip()
    if not text:
        raise EvaluationError(f"there is no prompt for {clip.name}")
    return sample.networks.text_alignment.score(to_bytes(clip.frames), text)


def dino_consistency(clip: Clip, sample: Sample) -> float:
    """By DINO's features (VBench ``subject_consistency.py``), 0..1."""
    check_moving(clip.frames)
    return consistency(sample.networks.dino.encode(to_bytes(clip.frames)))


def clip_consistency(clip: Clip, sample: Sample) -> float:
    """By CLIP's features (VBench ``background_consistency.py``), 0..1."""
    check_moving(clip.frames)
    return consistency(sample.networks.clip_b32.encode(to_bytes(clip.frames)))


def consistency(features: Tensor) -> float:
    """Of features [N, D] of length 1: mean likeness to the frame before and to the first, over all but the first."""
    to_last = (features[1:] * features[:-1]).sum(1).clamp(min=0)
    to_first = (features[1:] * features[:1]).sum(1).clamp(min=0)
    return float(torch.stack([to_last, to_first]).mean())


def _mean(look: Look, sample: Sample, layer: str, ground: tuple[float, float, float]) -> float:
    values = [look(clip, sample) for clip in _clips(sample, layer, ground)]
    return sum(values) / len(values)


def _clips(sample: Sample, layer: str, ground: tuple[float, float, float]) -> Iterator[Clip]:
    fps = sample.layers.fps
    if layer == BACKGROUND:
        yield Clip(sample.background, BACKGROUND, fps)
    elif layer == BLENDED:
        yield Clip(sample.blended, BLENDED, fps)
    else:
        for foreground in sample.foregrounds:
            yield Clip(composite(foreground, ground), foreground.name, fps)
