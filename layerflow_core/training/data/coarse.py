"""Coarse layered clips from raw footage (paper section 3.2): a video, masks of what moves, and the footage without it.

Masks, inpainted backgrounds and descriptions come from whatever the user runs; this is the sorting of them.

Legend: N frames, H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import DatasetError, VideoFileError
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ...matching import describe, hold
from ...names import FileNames
from ...rgba import over
from ...video.files import read_video
from .clip_folder import LayerClip


@dataclass(frozen=True)
class MaskRules:
    """When a mask is no foreground.

    Args:
        least_area, largest_area: share of the frame, mean over the clip.
        most_border: share of the frame's border that a mask may touch; what touches more lies behind the scene.
        most_alike: IoU with a mask that was taken before, from which on it is the same object again.
    """

    least_area: float = 0.005
    largest_area: float = 0.8
    most_border: float = 0.5
    most_alike: float = 0.8


@dataclass(frozen=True)
class Rejection:
    """A mask that was not taken, and why."""

    mask: str
    reason: str


def sort_masks(
    masks: Mapping[str, Tensor], rules: MaskRules = MaskRules()
) -> tuple[dict[str, Tensor], list[Rejection]]:
    """Masks worth a clip, the largest first, and those refused.

    Args:
        masks: by name, [N, 1, H, W] in 0..1.
    """
    taken: dict[str, Tensor] = {}
    refused: list[Rejection] = []
    for name in sorted(masks, key=lambda n: -float(masks[n].mean())):
        reason = _find_fault(masks[name], taken, rules)
        if reason:
            refused.append(Rejection(name, reason))
        else:
            taken[name] = masks[name]
    return taken, refused


def _find_fault(mask: Tensor, taken: Mapping[str, Tensor], rules: MaskRules) -> str | None:
    area = float(mask.mean())
    border = border_share(mask)
    if area < rules.least_area:
        return f"empty: it covers {area:.2%} of the frame, expected at least {rules.least_area:.2%}"
    if area > rules.largest_area:
        return f"whole frame: it covers {area:.0%} of the frame, expected at most {rules.largest_area:.0%}"
    if border > rules.most_border:
        return f"like a background: it touches {border:.0%} of the border, expected at most {rules.most_border:.0%}"
    for name, other in taken.items():
        if (alike := overlap(mask, other)) > rules.most_alike:
            return f"the same as {name}: IoU {alike:.2f}, expected at most {rules.most_alike:.2f}"
    return None


def border_share(mask: Tensor) -> float:
    """Share of the frame's outermost pixels that a [N, 1, H, W] mask covers."""
    edges = [mask[:, :, 0], mask[:, :, -1], mask[:, :, 1:-1, 0], mask[:, :, 1:-1, -1]]
    covered = sum(float((e > 0.5).sum()) for e in edges)
    return covered / max(1, sum(e.numel() for e in edges))


def overlap(a: Tensor, b: Tensor) -> float:
    """IoU of two [N, 1, H, W] masks over all frames."""
    inside = (a > 0.5, b > 0.5)
    return float((inside[0] & inside[1]).sum()) / max(1, int((inside[0] | inside[1]).sum()))


def coarse_clips(
    name: str,
    footage: Tensor,
    background: Tensor,
    masks: Mapping[str, Tensor],
    prompts: Mapping[str, Mapping[str, str]],
    rules: MaskRules = MaskRules(),
) -> tuple[list[LayerClip], list[Rejection]]:
    """One clip for each mask worth it.

    Args:
        footage: [N, 3, H, W]; also the foreground's colour, inside the mask.
        background: [N, 3, H, W], inpainted under every mask; each clip's own still shows the other objects. One image
            stands for all frames.
        masks: by name, [N, 1, H, W]; one image stands for all frames.
        prompts: by mask name, prompts by layer.

    Raises:
        DatasetError: images do not fit each other, or a mask that is taken has no prompts.
    """
    background = hold(background, len(footage))
    held = {mask: _hold_mask(mask, alpha, footage) for mask, alpha in masks.items()}
    taken, refused = sort_masks(held, rules)
    if unknown := [mask for mask in taken if mask not in prompts]:
        raise DatasetError(
            f"{name}: mask {unknown[0]} has no prompts, expected foreground, background and blended"
        )
    clips = []
    for mask, alpha in taken.items():
        layers = {
            FOREGROUND: footage,
            ALPHA: alpha,
            BACKGROUND: _behind(mask, taken, footage, background),
            BLENDED: footage,
        }
        clips.append(LayerClip(f"{name}_{mask}", layers, prompts[mask]).check())
    return clips, refused


def _hold_mask(name: str, mask: Tensor, footage: Tensor) -> Tensor:
    held = hold(mask, len(footage))
    if held.shape[0] != footage.shape[0] or held.shape[2:] != footage.shape[2:]:
        raise DatasetError(
            f"mask {name}: got {describe(mask)}, expected {describe(footage)} as the footage "
            "has, or one frame of its size"
        )
    return held


def _behind(mask: str, taken: Mapping[str, Tensor], footage: Tensor, background: Tensor) -> Tensor:
    """The scene without one object: the other ones are still there, from the footage, where this
    one does not hide them.
    """
    others = [alpha for name, alpha in taken.items() if name != mask]
    if not others or footage.shape != background.shape:
        return background
    shown = torch.stack(others).amax(0) * (1 - taken[mask])
    return over(footage, shown, background)


def match_prompts(
    masks: Mapping[str, Tensor],
    foregrounds: Sequence[str],
    backgrounds: Sequence[str],
    blended: Sequence[str],
) -> dict[str, dict[str, str]]:
    """Prompts by mask name.

    Args:
        masks: in the order in which they were named.
        foregrounds: one for each mask, in this order.
        backgrounds, blended: one for each mask, or one for all.

    Raises:
        DatasetError: there are more or fewer.
    """
    matched = {
        FOREGROUND: _match(masks, foregrounds, FOREGROUND, shared=False),
        BACKGROUND: _match(masks, backgrounds, BACKGROUND, shared=True),
        BLENDED: _match(masks, blended, BLENDED, shared=True),
    }
    return {mask: {layer: texts[mask] for layer, texts in matched.items()} for mask in masks}


def _match(
    masks: Mapping[str, Tensor], texts: Sequence[str], layer: str, shared: bool
) -> dict[str, str]:
    if len(texts) == 1 and shared:
        return dict.fromkeys(masks, texts[0])
    if len(texts) != len(masks):
        wanted = f"{len(masks)}, one for each mask in their order" + (
            ", or one for all" if shared else ""
        )
        raise DatasetError(
            f"got {len(texts)} prompts for {layer} and {len(masks)} masks, expected {wanted}"
        )
    return dict(zip(masks, texts))


def read_masks(paths: Iterable[Path]) -> dict[str, Tensor]:
    """Mask sequences by file or folder name, [N, 1, H, W], in this order; names that are alike get numbers.

    Raises:
        DatasetError: naming what is damaged.
    """
    names = FileNames()
    try:
        return {
            names.claim(path.stem): read_video(path).colour.mean(1, keepdim=True) for path in paths
        }
    except VideoFileError as error:
        raise DatasetError(str(error)) from error
