"""A folder of finished layers: video files, images, a contact sheet, and ``layers.json`` that says what they are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from .atomic import replacing
from .errors import VideoFileError
from .layer_files.record import RECORD, STRAIGHT, describe
from .layer_files.saving import named_like_files
from .layers import LayerVideo
from .layout import BACKGROUND, BLENDED, FOREGROUND
from .model.loading import LayerFlowModel
from .pipeline import Run
from .rates import read_rate
from .video.contact_sheet import draw_sheet, draw_strip
from .video.encodings import write_h264, write_prores
from .video.images import write_image, write_png_sequence
from .video.webp import write_webp

SHEET, STRIP = "contact_sheet.png", "layers.webp"
RECOMPOSED = "recomposed"


_NAMES = (FOREGROUND, BACKGROUND, BLENDED, RECOMPOSED, Path(SHEET).stem, Path(STRIP).stem)


def replaces(folder: Path, path: Path) -> bool:
    """Whether ``write_layers`` would write over a file or folder of these layers that is there."""
    place = Path(os.path.realpath(path))
    return place.parent == Path(os.path.realpath(folder)) and place.stem.casefold() in _NAMES


def write_layers(
    folder: Path, layers: LayerVideo, record: Mapping[str, Any], fps: Fraction | None = None
) -> list[Path]:
    """Write every layer; files of the same names are replaced, each at once. ``layers.json`` comes last.

    Per foreground a ProRes 4444 ``.mov`` and a folder of PNGs, both straight alpha; the opaque layers as H.264.

    Args:
        fps: exact rate where one is known; else the layers' own.

    Raises:
        VideoFileError: the folder cannot be written.
    """
    layers = named_like_files(layers, reserved=(RECOMPOSED, Path(SHEET).stem, Path(STRIP).stem))
    rate = read_rate(layers.fps if fps is None else fps, "fps", VideoFileError)
    files, more = {}, {"contact sheet": SHEET, "moving strip": STRIP}
    for layer in layers.foregrounds:
        write_prores(folder / f"{layer.name}.mov", layer.colour, layer.opacity, rate)
        _write_frames(folder / layer.name, layer)
        files[layer.name], more[f"{layer.name} frames"] = (
            f"{layer.name}.mov",
            f"{layer.name}/%05d.png",
        )
    recomposed = None if layers.background is None else layers.recompose()
    for name, clip, listed in (
        (BACKGROUND, layers.background, files),
        (BLENDED, layers.blended, files),
        (RECOMPOSED, recomposed, more),
    ):
        if clip is not None:
            write_h264(folder / f"{name}.mp4", clip, rate)
            listed[name] = f"{name}.mp4"
    write_image(folder / SHEET, draw_sheet(layers))
    write_webp(folder / STRIP, draw_strip(layers), rate)
    content = {**describe(layers, rate, STRAIGHT, files), "more_files": more, **record}
    with replacing(folder / RECORD) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    return [folder / name for name in (*files.values(), *more.values()) if "%" not in name]


def _write_frames(folder: Path, layer) -> None:
    kept = set(write_png_sequence(folder, layer.colour, layer.opacity))
    for stale in set(folder.glob("[0-9][0-9][0-9][0-9][0-9].png")) - kept:
        stale.unlink()


def run_record(model: LayerFlowModel, run: Run, task: str) -> dict[str, Any]:
    """What a run was made with, for ``layers.json``."""
    return {
        "task": task,
        "prompts": dict(run.prompts),
        "given": sorted(run.given),
        "seed": run.seed,
        "sampler": asdict(run.settings),
        "steps": run.settings.steps,
        "checkpoint": model.source.name if model.source else None,
        "checkpoint_sha256": model.digest,
        "layout": model.config.layout.name,
        "lora_strengths": dict(model.strengths),
        "loras": [asdict(lora) for lora in model.loras],
    }
