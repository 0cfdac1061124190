"""Clips as latents and text encodings on disk, made once: sharded safetensors, resumable.

A cache is a folder named after a hash of all that it was made from (clips, their treatment, layout, size, VAE and
text encoder), so a stale one is never read.

Legend: T latent frames of the sequence, C, H, W latent; S segments of L tokens of width D; n clips.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Len
from safetensors import SafetensorError
from torch import Tensor

from ...errors import DatasetError
from ...layout import Layout
from ...model.loading import LayerFlowModel
from ...plain_data import Name, parse_record
from ...rgba import to_model
from ...video.frames import cover
from ...weights.tensor_file import open_tensors, write_tensors
from .clip_folder import LayerClip
from .composer import ClipSource

SHARD = 32  # clips a file
_VERSION = 1
_TextKeys = Annotated[list[list[Name]], Len(0, SHARD)]


def pick_moving(available: int, wanted: int, rng: random.Random) -> list[int]:
    """``wanted`` consecutive frames from a random start; a short clip holds its last frame."""
    start = rng.randint(0, max(0, available - wanted))
    return [min(start + i, available - 1) for i in range(wanted)]


def pick_frozen(available: int, wanted: int, rng: random.Random) -> list[int]:
    """One random frame again and again (paper section 3.2: frozen frames of the motion stage)."""
    return [rng.randrange(available)] * wanted


TREATMENTS: dict[str, Callable[[int, int, random.Random], list[int]]] = {
    "moving": pick_moving,
    "frozen": pick_frozen,
}


@dataclass(frozen=True)
class CachedClip:
    """One clip as a network sees it.

    Args:
        mean, std: [T, C, H, W] of the posterior, at the scale the transformer works on.
        context: [S, L, D] text encodings.
    """

    mean: Tensor
    std: Tensor
    context: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """[T, C, H, W] float32, one draw of the posterior."""
        return self.mean.float() + self.std.float() * torch.randn(
            self.mean.shape, generator=generator
        )


class LatentCache:
    """A finished cache; shards are memory-mapped, and only the clip that is asked for is read."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self._shards: dict[int, tuple] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> CachedClip:
        if not 0 <= index < self.count:
            raise IndexError(index)
        file, texts = self._shard(index // SHARD)
        within = index % SHARD
        try:
            mean = file.get_slice("mean")[within : within + 1][0]
            std = file.get_slice("std")[within : within + 1][0]
            context = [file.get_tensor(f"text.{key}") for key in texts[within]]
        except (SafetensorError, IndexError) as error:
            path = self.folder / _shard_name(index // SHARD)
            raise DatasetError(
                f"{path} is damaged ({error}): delete it, and it is made again"
            ) from error
        return CachedClip(mean, std, torch.stack(context))

    def _shard(self, number: int) -> tuple:
        """The open file, and the text keys of its clips."""
        if number not in self._shards:
            path = self.folder / _shard_name(number)
            file = open_tensors(path)
            metadata = file.metadata() or {}
            keys = parse_record(
                _TextKeys, metadata.get("texts", ""), f"{path}: texts", DatasetError
            )
            self._shards[number] = file, keys
        return self._shards[number]


def build_cache(
    source: ClipSource,
    treatment: str,
    model: LayerFlowModel,
    root: Path,
    seed: int = 0,
    variants: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
    share: tuple[int, int] = (0, 1),
) -> LatentCache:
    """Encode every clip that is not encoded yet, with autocast where the caller has it on.

    Args:
        treatment: key of ``TREATMENTS``.
        root: of all caches; this one gets a folder of its own.
        variants: treatments of each clip, with other random frames.
        report: called with (shards done, all shards).
        share: (index, processes) of a process that encodes its part of the shards; the cache is
            whole when all are done.

    Raises:
        DatasetError: the treatment is unknown, or a clip is broken; shards that were finished stay.
    """
    if treatment not in TREATMENTS:
        raise DatasetError(
            f"got unknown treatment {treatment!r}, expected one of {', '.join(TREATMENTS)}"
        )
    count = len(source) * variants
    folder = root / _cache_key(source, treatment, model, seed, variants)[:20]
    folder.mkdir(parents=True, exist_ok=True)
    shards = -(-count // SHARD)
    for number in range(share[0], shards, share[1]):
        if not (folder / _shard_name(number)).exists():
            indices = range(number * SHARD, min(count, (number + 1) * SHARD))
            _write_shard(
                folder / _shard_name(number),
                (_treat(source[i % len(source)], treatment, model, f"{seed}:{i}") for i in indices),
                model,
            )
        report(min(number + share[1], shards), shards)
    return LatentCache(folder, count)


def _shard_name(number: int) -> str:
    return f"{number:05d}.safetensors"


def _cache_key(
    source: ClipSource, treatment: str, model: LayerFlowModel, seed: int, variants: int
) -> str:
    config = model.config
    vae = model.require_vae().vae
    text = model.require_text().t5
    weights = [hash_weights(part) for part in (vae, text)]
    facts = (
        _VERSION,
        source.fingerprint(),
        treatment,
        seed,
        variants,
        config.layout.with_given().to_json(),
        config.network,
        weights,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def hash_weights(module: torch.nn.Module) -> str:
    """Hash of a module's weights by a few numbers of each tensor: fast, and another training never
    has them all alike.
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        flat = value.detach().flatten()
        probe = flat[:: max(1, flat.numel() // 64)].float()
        digest.update(
            name.encode() + str(tuple(value.shape)).encode() + probe.cpu().numpy().tobytes()
        )
    return digest.hexdigest()


@dataclass(frozen=True)
class _Treated:
    clips: dict[str, Tensor]
    texts: list[str]
    layout: Layout


def _treat(clip: LayerClip, treatment: str, model: LayerFlowModel, key: str) -> _Treated:
    """The model's size and length of a clip, in the model's colours."""
    layout = model.config.layout.with_given()
    frames = TREATMENTS[treatment](
        len(next(iter(clip.layers.values()))), layout.clip_pixel_frames, random.Random(key)
    )
    if missing := [name for name in layout.names if name not in clip.layers]:
        raise DatasetError(
            f"clip {clip.name}: layer {', '.join(missing)} is missing, layout {layout.name!r} "
            f"has {', '.join(layout.names)}"
        )
    pixels = {
        name: cover(clip.layers[name][frames], *model.frame_size).clamp(0, 1)
        for name in layout.names
    }
    if unknown := [name for name in layout.texts if not clip.prompts.get(name)]:
        raise DatasetError(
            f"clip {clip.name}: the prompt for {', '.join(unknown)} is empty, layout "
            f"{layout.name!r} has texts for {', '.join(layout.texts)}"
        )
    texts = [segment.text for segment in layout.segments(clip.prompts)]
    return _Treated(to_model(pixels, layout), texts, layout)


def _write_shard(path: Path, clips: Iterator[_Treated], model: LayerFlowModel) -> None:
    vae = model.require_vae()
    text = model.require_text()
    means = []
    stds = []
    texts = []
    encodings = {}
    for clip in clips:
        mean, std = vae.posterior(clip.clips, clip.layout)
        means.append(mean.half())
        stds.append(std.half())
        keys = []
        for segment in clip.texts:
            key = hashlib.sha256(segment.encode()).hexdigest()[:16]
            if f"text.{key}" not in encodings:
                encodings[f"text.{key}"] = text.encode(segment).to(torch.bfloat16)
            keys.append(key)
        texts.append(keys)
    # With autocast, half precision could not be stacked on a CPU.
    with torch.autocast("cpu", enabled=False):
        write_tensors(
            path,
            {"mean": torch.stack(means), "std": torch.stack(stds), **encodings},
            {"texts": json.dumps(texts)},
        )
