"""What a checkpoint says of itself: everything needed to build its networks, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Interval, Len
from typing_extensions import TypedDict

from .errors import CheckpointError
from .layout import STRICT, Layout, current_fields
from .plain_data import Finite, Name, as_record, parse_json

FORMAT_VERSION = 1

LARGEST_CONFIG = 1024**2
"""Bytes of a config; those of this pack have 3 KB."""

_SOURCE = "the checkpoint's config"
# Far above what any network has, far below what would take for ever to build.
_Many = Annotated[int, Interval(ge=1, le=4096)]
_Width = Annotated[int, Interval(ge=1, le=65536)]
_Rank = Annotated[int, Interval(ge=0, le=65536)]
_Layers = Annotated[int, Interval(ge=1, le=256)]
_Share = Annotated[float, Interval(gt=0, lt=1)]


@dataclass(frozen=True)
class NetworkConfig:
    """Dimensions of the transformer; the defaults are CogVideoX-2B's.

    Args:
        latent_height, latent_width: the one latent size that the position table fits.
        tokens_per_text: length of one text segment.
        motion_rank, content_rank: of the two LoRAs, 0 where the checkpoint has none.
    """

    __pydantic_config__ = STRICT

    num_attention_heads: _Many = 30
    attention_head_dim: _Many = 64
    num_layers: _Layers = 30
    time_embed_dim: _Width = 512
    text_embed_dim: _Width = 4096
    latent_channels: _Many = 16
    latent_height: _Many = 60
    latent_width: _Many = 90
    patch_size: Annotated[int, Interval(ge=1, le=64)] = 2
    tokens_per_text: _Many = 226
    motion_rank: _Rank = 0
    content_rank: _Rank = 0

    @property
    def hidden_size(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent frame."""
        return self.latent_channels, self.latent_height, self.latent_width

    @property
    def tokens_per_frame(self) -> int:
        return (self.latent_height // self.patch_size) * (self.latent_width // self.patch_size)


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule of CogVideoX-2B: scaled-linear betas, SNR shift, zero terminal SNR."""

    __pydantic_config__ = STRICT

    timesteps: Annotated[int, Interval(ge=2, le=100_000)] = 1000
    beta_start: _Share = 0.00085
    beta_end: _Share = 0.012
    snr_shift: Annotated[float, Interval(gt=0, le=1000)] = 3.0


class SamplerFields(TypedDict, total=False):
    """Fields of ``SamplerSettings`` that a checkpoint may state."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    steps: Annotated[int, Interval(ge=1, le=200)]
    guidance: Name
    scale: Annotated[float, Interval(ge=0, lt=1000)]
    solver: Name
    guidance_margin: Annotated[float, Interval(ge=0, lt=1000)]
    step_cache: Annotated[float, Interval(ge=0, le=1)]


_Colour = Annotated[tuple[Finite, ...], Len(3, 3)]


@dataclass(frozen=True)
class ModelConfig:
    """A whole checkpoint.

    Args:
        layout: its row; a unified checkpoint may run it with any clips given.
        unified: trained with any subset of clips given, not with the row's own alone.
        text_encoder: ``T5Config`` fields, None if the file has no text encoder.
        vae: ``AutoencoderKLCogVideoX`` config, None if the file has no VAE.
        fps: frame rate of its training clips.
        sampler: fields of ``SamplerSettings`` that this checkpoint works best with; what is left
            out is the official value.
        sampler_given: by the name of a clip, those that are otherwise when it is given: what is
            copied needs less guidance
            than what is made up.
        preview: [latent_channels + 1][3], a linear map (last row: offset) from a latent to 0..1
            RGB; None: no map known.
        reconstruction_limit: mean absolute error (0..1) that the VAE has at most on footage of the kind this checkpoint
            was trained on; worse footage brings a warning. None: any footage, nothing is measured.
    """

    __pydantic_config__ = STRICT

    layout: Layout
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    unified: bool = False
    text_encoder: Mapping[str, Any] | None = None
    vae: Mapping[str, Any] | None = None
    fps: Annotated[float, Interval(ge=0.001, le=1000)] = 8.0
    sampler: SamplerFields = field(default_factory=dict)
    sampler_given: Annotated[Mapping[Name, SamplerFields], Len(0, 64)] = field(default_factory=dict)
    preview: tuple[_Colour, ...] | None = None
    reconstruction_limit: Annotated[float, Interval(ge=0, le=1)] | None = None

    @property
    def text_length(self) -> int:
        """Text tokens of the whole sequence."""
        return self.layout.text_segments * self.network.tokens_per_text

    @property
    def video_length(self) -> int:
        """Video tokens of the whole sequence."""
        return self.layout.network_frames * self.network.tokens_per_frame

    @property
    def sequence_length(self) -> int:
        return self.text_length + self.video_length

    def sampler_for(self, given: Iterable[str] = ()) -> dict[str, Any]:
        """Fields of ``SamplerSettings`` for a run with these clips given."""
        otherwise = [self.sampler_given[name] for name in given if name in self.sampler_given]
        return {
            key: value for fields in (self.sampler, *otherwise) for key, value in fields.items()
        }

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Raises CheckpointError if the text is no config of this format, LayoutError if its layout
        contradicts itself.
        """
        data = parse_json(text, _SOURCE, CheckpointError, LARGEST_CONFIG)
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT_VERSION:
            raise CheckpointError(
                f"checkpoint format is not {FORMAT_VERSION}: written by another version of this pack; "
                "convert the original file again"
            )
        data["layout"] = current_fields(data.get("layout"))
        config = as_record(cls, data, _SOURCE, CheckpointError)
        channels = config.network.latent_channels
        if config.preview is not None and len(config.preview) != channels + 1:
            raise CheckpointError(
                f"{_SOURCE}: got a preview of {len(config.preview)} rows, expected {channels + 1}: the file is damaged"
            )
        return config
