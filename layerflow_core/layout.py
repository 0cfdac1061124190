"""Layouts: which clips stand where in the one token sequence, which are given, and which prompt speaks of which.

A task is a row of data, not code (paper section 3.1). Callers that need to know where a clip stands ask the layout.

Legend: B batch, T latent frames of the whole sequence, G generated ones, K given ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Annotated, Any

import torch
from annotated_types import Interval, Len
from torch import Tensor

from .errors import LayoutError
from .plain_data import Name, as_record

FOREGROUND, ALPHA, BACKGROUND, BLENDED = KINDS = ("foreground", "alpha", "background", "blended")
PIXELS_PER_LATENT = 4  # frames that one latent frame of a CogVideoX VAE stands for
JOINT, PER_CLIP = VAE_BATCHINGS = ("joint", "per_clip")
SEQUENCE, CHANNELS = ARRANGEMENTS = ("sequence", "channels")
STRICT = {"extra": "forbid"}
"""For records in which a field that is not known means that something else is wrong."""

_Frames = Annotated[int, Interval(ge=0, le=10_000)]
_MOST_CLIPS = 64


@dataclass(frozen=True)
class Clip:
    """One layer's stretch of the sequence.

    Args:
        name: unique in its layout; what prompts and given layers are addressed by.
        kind: foreground, alpha, background or blended. An alpha belongs to the nearest foreground before it.
        frames: latent frames.
        given: how many of its last latent frames are clean conditions; 0 generates all of it.
    """

    __pydantic_config__ = STRICT

    name: Name
    kind: Name
    frames: _Frames = 4
    given: _Frames = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LayoutError(
                f"clip {self.name!r} has kind {self.kind!r}, expected one of {', '.join(KINDS)}"
            )
        if self.frames < 1 or not 0 <= self.given <= self.frames:
            raise LayoutError(
                f"clip {self.name!r} has {self.frames} frames of which {self.given} given, "
                "expected 0 <= given <= frames, frames >= 1"
            )

    @property
    def pixel_frames(self) -> int:
        return self.frames * PIXELS_PER_LATENT


@dataclass(frozen=True)
class Segment:
    """One prompt's place among the text tokens.

    Args:
        layer: name of the clip that it speaks of.
        index: of the segment, from 0.
        prompt: as it was written; empty for none.
    """

    layer: str
    index: int
    prompt: str

    @property
    def text(self) -> str:
        """What the text encoder reads, see ``indexed``; empty for no prompt."""
        return indexed(self.index, self.prompt) if self.prompt.strip() else ""


def indexed(index: int, prompt: str) -> str:
    """A prompt as the network was trained to read it: ``"0, a dog"`` (official data), in segment order."""
    return f"{index}, {prompt}"


@dataclass(frozen=True)
class Layout:
    """A row of the table: the order of the clips and what is known of them.

    Args:
        name: of the row.
        clips: in sequence order.
        texts: for each text segment, the clip its prompt speaks of.
        leading_duplicate: the first pixel frame stands twice, with_given one latent frame more in front
            (two official variants); it is given or generated with the first clip.
        layer_embedding: the network adds a learned embedding to each text segment (paper section 3.1).
        vae_batching: ``joint`` sends all clips through the VAE in one call, ``per_clip`` each on its own.
        arrangement: how clips meet in the network. ``sequence``, LayerFlow's way, puts their frames one after another;
            ``channels`` lays them on each other as channels of the same frames, the alternative that the paper
            compares with.

    Raises:
        LayoutError: the row contradicts itself.
    """

    __pydantic_config__ = STRICT

    name: Name
    clips: Annotated[tuple[Clip, ...], Len(1, _MOST_CLIPS)]
    texts: Annotated[tuple[Name, ...], Len(0, _MOST_CLIPS)]
    leading_duplicate: bool = False
    layer_embedding: bool = False
    vae_batching: str = JOINT
    arrangement: str = SEQUENCE

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names) or not names:
            raise LayoutError(
                f"layout {self.name!r} has clips {names}, expected one or more of different names"
            )
        if len({clip.frames for clip in self.clips}) > 1:
            raise LayoutError(
                f"layout {self.name!r} has clips of different lengths, expected one length for all"
            )
        if unknown := [t for t in self.texts if t not in names]:
            raise LayoutError(
                f"layout {self.name!r} has prompts for {unknown}, expected some of {names}"
            )
        if self.vae_batching not in VAE_BATCHINGS:
            raise LayoutError(
                f"layout {self.name!r} has vae_batching {self.vae_batching!r}, "
                f"expected one of {', '.join(VAE_BATCHINGS)}"
            )
        if self.arrangement not in ARRANGEMENTS:
            raise LayoutError(
                f"layout {self.name!r} has arrangement {self.arrangement!r}, expected one of {', '.join(ARRANGEMENTS)}"
            )
        if self.arrangement == CHANNELS and self.leading_duplicate:
            raise LayoutError(
                f"layout {self.name!r} lays clips on each other with one frame left over, expected no leading duplicate"
            )
        if all(clip.given for clip in self.clips):
            raise LayoutError(
                f"layout {self.name!r} gives every clip, expected at least one to generate"
            )
        for index, clip in enumerate(self.clips):
            if clip.kind == ALPHA and not any(c.kind == FOREGROUND for c in self.clips[:index]):
                raise LayoutError(
                    f"layout {self.name!r} has alpha {clip.name!r} before any foreground"
                )

    # ---- what stands where -------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(clip.name for clip in self.clips)

    @property
    def lead(self) -> int:
        """Latent frames, and pixel frames, in front of the first clip."""
        return int(self.leading_duplicate)

    @property
    def frames(self) -> int:
        """Latent frames of the whole sequence."""
        return self.lead + sum(clip.frames for clip in self.clips)

    @property
    def pixel_frames(self) -> int:
        return self.lead + sum(clip.pixel_frames for clip in self.clips)

    @property
    def clip_pixel_frames(self) -> int:
        """Frames of each layer's video."""
        return self.clips[0].pixel_frames

    def clip(self, name: str) -> Clip:
        """Raises LayoutError if there is no such clip."""
        for clip in self.clips:
            if clip.name == name:
                return clip
        raise LayoutError(f"got layer {name!r}, layout {self.name!r} has {', '.join(self.names)}")

    def span(self, name: str) -> slice:
        """Where a clip stands on the latent time axis."""
        start = self.lead
        for clip in self.clips:
            if clip.name == name:
                return slice(start, start + clip.frames)
            start += clip.frames
        raise LayoutError(f"got layer {name!r}, layout {self.name!r} has {', '.join(self.names)}")

    def pixel_span(self, name: str) -> slice:
        """Where a clip stands on the pixel time axis of the decoded stack."""
        latent = self.span(name)
        start, stop = (
            (edge - self.lead) * PIXELS_PER_LATENT + self.lead
            for edge in (latent.start, latent.stop)
        )
        return slice(start, stop)

    def alpha_of(self, foreground: str) -> Clip | None:
        """The alpha clip that belongs to a foreground, None for an RGB layout."""
        index = self.clips.index(self.clip(foreground))
        for clip in self.clips[index + 1 :]:
            if clip.kind == FOREGROUND:
                return None
            if clip.kind == ALPHA:
                return clip
        return None

    def middle_frame(self, name: str) -> int:
        """The latent frame in the middle of a clip."""
        span = self.span(name)
        return (span.start + span.stop) // 2

    def of_kind(self, kind: str) -> tuple[Clip, ...]:
        return tuple(clip for clip in self.clips if clip.kind == kind)

    # ---- given and generated -----------------------------------------------------------------------------------

    @property
    def given_names(self) -> tuple[str, ...]:
        return tuple(clip.name for clip in self.clips if clip.given)

    @property
    def task(self) -> str:
        """What a run of this row does, for messages: ``background from foreground, alpha``."""
        generated = [clip.name for clip in self.clips if clip.given < clip.frames]
        known = ", ".join(self.given_names) or "prompts alone"
        return f"{', '.join(generated)} from {known}"

    @property
    def given_frames(self) -> tuple[int, ...]:
        """Latent indices of the clean condition frames."""
        lead = range(self.lead) if self.clips[0].given == self.clips[0].frames else ()
        spans = (
            range(self.span(c.name).stop - c.given, self.span(c.name).stop) for c in self.clips
        )
        return (*lead, *(index for span in spans for index in span))

    @property
    def given_mask(self) -> Tensor:
        """[T] bool, True for the clean condition frames."""
        mask = torch.zeros(self.frames, dtype=torch.bool)
        mask[list(self.given_frames)] = True
        return mask

    @property
    def generated_frames(self) -> tuple[int, ...]:
        given = set(self.given_frames)
        return tuple(index for index in range(self.frames) if index not in given)

    def with_given(self, *names: str) -> Layout:
        """The same row with exactly these clips given, whole."""
        for name in names:
            self.clip(name)
        clips = tuple(
            replace(clip, given=clip.frames if clip.name in names else 0) for clip in self.clips
        )
        return replace(self, clips=clips)

    def join(self, generated: Tensor, given: Tensor | None) -> Tensor:
        """Put generated [B, G, ...] and clean given [B, K, ...] frames together as [B, T, ...].

        Raises:
            LayoutError: a frame count does not fit.
        """
        got = (generated.shape[1], 0 if given is None else given.shape[1])
        expected = (len(self.generated_frames), len(self.given_frames))
        if got != expected:
            raise LayoutError(
                f"got {got[0]} generated and {got[1]} given latent frames, layout {self.name!r} "
                f"has {expected[0]} and {expected[1]}"
            )
        if given is None:
            return generated
        full = generated.new_empty(generated.shape[0], self.frames, *generated.shape[2:])
        full[:, list(self.generated_frames)] = generated
        full[:, list(self.given_frames)] = given.to(generated.dtype)
        return full

    def generated_of(self, full: Tensor) -> Tensor:
        """[B, T, ...] -> [B, G, ...]."""
        return full[:, list(self.generated_frames)]

    def given_of(self, full: Tensor) -> Tensor | None:
        """[B, T, ...] -> [B, K, ...], None where nothing is given."""
        return full[:, list(self.given_frames)] if self.given_frames else None

    # ---- what the network sees ----------------------------------------------------------------------------------

    @property
    def layers_per_frame(self) -> int:
        """Clips that share the network's frames as channels."""
        return len(self.clips) if self.arrangement == CHANNELS else 1

    @property
    def network_frames(self) -> int:
        """Latent frames that the network sees."""
        return self.frames // self.layers_per_frame

    def to_network(self, latents: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [B, T / layers, layers * C, H, W]; unchanged in a sequence."""
        if self.layers_per_frame == 1:
            return latents
        return latents.unflatten(1, (self.layers_per_frame, -1)).transpose(1, 2).flatten(2, 3)

    def from_network(self, latents: Tensor) -> Tensor:
        """The inverse of ``to_network``."""
        if self.layers_per_frame == 1:
            return latents
        return latents.unflatten(2, (self.layers_per_frame, -1)).transpose(1, 2).flatten(1, 2)

    @property
    def generated_spans(self) -> tuple[slice, ...]:
        """Frames of the network by generated layer; one span where layers share frames as channels."""
        if self.layers_per_frame > 1:
            return (slice(0, self.network_frames),)

        spans = []
        for clip in self.clips:
            span = self.span(clip.name)
            if clip.given < clip.frames:
                spans.append(slice(span.start, span.stop - clip.given))
        return tuple(spans)

    # ---- prompts --------------------------------------------------------------------------------

    @property
    def text_segments(self) -> int:
        return len(self.texts)

    def segments(self, prompts: Mapping[str, str]) -> tuple[Segment, ...]:
        """The text segments in their order, with the prompts there are."""
        return tuple(
            Segment(name, index, prompts.get(name, "")) for index, name in enumerate(self.texts)
        )

    # ---- what the VAE sees ----------------------------------------------------------------------

    @property
    def vae_spans(self) -> tuple[slice, ...]:
        """Latent frames that the VAE codes in one call each."""
        if self.vae_batching == JOINT:
            return (slice(0, self.frames),)
        return tuple(self.span(name) for name in self.names)

    def vae_spans_beside(self, known: Collection[str], stretch: int) -> tuple[slice, ...]:
        """``vae_spans`` less the clips whose pixels are known, where that changes no other one; empty in their place.

        Clips that are coded one by one go out each for itself. Of a joint stack those at its end do: the VAE is
        causal, so nothing before them sees them, as long as the rest falls into the same stretches. A stack that is
        coded as a whole keeps them, because its group norm sees all.

        Args:
            known: names of clips.
            stretch: latent frames that the VAE codes at a time, the first time with those left over; 0 for all.
        """
        if self.vae_batching == PER_CLIP:
            spans = zip(self.names, self.vae_spans)
            return tuple(slice(0, 0) if name in known else span for name, span in spans)
        end = self.frames
        for clip in reversed(self.clips):
            if clip.name not in known:
                break
            end -= clip.frames
        falls_alike = stretch and end >= stretch and (self.frames - end) % stretch == 0
        return (slice(0, end),) if falls_alike else self.vae_spans

    def to_vae(self, clips: Mapping[str, Tensor]) -> list[Tensor]:
        """Clips by name, each [N, 3, H, W], to what the VAE codes in one call each, [N', 3, H, W]."""
        if self.vae_batching == JOINT:
            return [self.stack(clips)]
        return [clips[name] for name in self.names]

    def from_vae(self, decoded: Sequence[Tensor]) -> dict[str, Tensor]:
        """The inverse of ``to_vae``; of a clip that was left out there are no frames."""
        if self.vae_batching == JOINT:
            return self.cut(decoded[0])
        return dict(zip(self.names, decoded, strict=True))

    # ---- the pixel stack ---------------------------------------------------------------------------------------

    def stack(self, clips: Mapping[str, Tensor]) -> Tensor:
        """Clips by name, each [N, 3, H, W], to the pixel stack [pixel_frames, 3, H, W]."""
        stacked = torch.cat([clips[name] for name in self.names])
        return torch.cat([stacked[:1], stacked]) if self.leading_duplicate else stacked

    def cut(self, stack: Tensor) -> dict[str, Tensor]:
        """The inverse of ``stack``."""
        return {name: stack[self.pixel_span(name)] for name in self.names}

    # ---- as data -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layout:
        """Raises LayoutError if a field is missing, unknown or out of bounds, or the row contradicts itself."""
        return as_record(cls, current_fields(data), "the fields of Layout", LayoutError)


def current_fields(data: Any) -> Any:
    """The fields of a layout as they are called now; files of the first versions say ``encoding``."""
    if not isinstance(data, Mapping) or "encoding" not in data:
        return data
    fields = dict(data)
    batching = fields.pop("encoding")
    fields["vae_batching"] = {"stack": JOINT, "clip": PER_CLIP}.get(batching, batching)
    return fields


RGB = (FOREGROUND, BACKGROUND, BLENDED)
RGBA = (FOREGROUND, ALPHA, BACKGROUND, BLENDED)
THREE_TEXTS = (FOREGROUND, BACKGROUND, BLENDED)
TWO_TEXTS = (FOREGROUND, BACKGROUND)


def _row(
    name: str,
    kinds: Sequence[str],
    given: Mapping[str, int],
    texts: tuple[str, ...],
    **options: Any,
) -> Layout:
    return Layout(
        name, tuple(Clip(kind, kind, given=given.get(kind, 0)) for kind in kinds), texts, **options
    )


_TABLE = (
    # The eight released checkpoints. seg_rgb conditions on half of its blended clip, as its official code does.
    _row("gen_rgb", RGB, {}, THREE_TEXTS),
    _row("gen_rgba", RGBA, {}, THREE_TEXTS, layer_embedding=True),
    _row("seg_rgb", RGB, {BLENDED: 2}, TWO_TEXTS),
    _row("seg_rgba", RGBA, {BLENDED: 4}, TWO_TEXTS),
    _row("fg2bg_rgb", RGB, {FOREGROUND: 4}, THREE_TEXTS),
    _row(
        "fg2bg_rgba",
        RGBA,
        {FOREGROUND: 4, ALPHA: 4},
        THREE_TEXTS,
        leading_duplicate=True,
        layer_embedding=True,
    ),
    _row("bg2fg_rgb", RGB, {BACKGROUND: 4}, THREE_TEXTS),
    _row(
        "bg2fg_rgba",
        RGBA,
        {BACKGROUND: 4},
        THREE_TEXTS,
        leading_duplicate=True,
        layer_embedding=True,
    ),
    # One checkpoint for every task: ``with_given`` says which.
    _row("unified_rgba", RGBA, {}, THREE_TEXTS, layer_embedding=True, vae_batching=PER_CLIP),
    _row(
        "channels_rgba",
        RGBA,
        {},
        THREE_TEXTS,
        layer_embedding=True,
        vae_batching=PER_CLIP,
        arrangement=CHANNELS,
    ),
)
LAYOUTS: Mapping[str, Layout] = {row.name: row for row in _TABLE}
_CLIPS = chain.from_iterable(row.clips for row in _TABLE)
COLOUR_LAYERS = tuple(dict.fromkeys(clip.name for clip in _CLIPS if clip.kind != ALPHA))
"""Layers of the table that have colour; what a person names. An alpha goes with its foreground."""
OFFICIAL_VARIANTS = tuple(row.name for row in _TABLE[:8])


def find_layout(name: str) -> Layout:
    """Raises LayoutError if the table has no such row."""
    if name not in LAYOUTS:
        raise LayoutError(f"got unknown layout {name!r}, expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
