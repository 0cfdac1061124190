"""What a checkpoint says of itself: everything needed to build its networks, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import CheckpointError
from .layout import Layout

FORMAT_VERSION = 1


@dataclass(frozen=True)
class NetworkConfig:
    """Dimensions of the transformer; the defaults are CogVideoX-2B's.

    Args:
        latent_height, latent_width: the one latent size that the position table fits.
        tokens_per_text: length of one text segment.
        motion_rank, content_rank: of the two LoRAs, 0 where the checkpoint has none.
    """

    num_attention_heads: int = 30
    attention_head_dim: int = 64
    num_layers: int = 30
    time_embed_dim: int = 512
    text_embed_dim: int = 4096
    latent_channels: int = 16
    latent_height: int = 60
    latent_width: int = 90
    patch_size: int = 2
    tokens_per_text: int = 226
    motion_rank: int = 0
    content_rank: int = 0

    @property
    def hidden_size(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def tokens_per_frame(self) -> int:
        return (self.latent_height // self.patch_size) * (self.latent_width // self.patch_size)


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule of CogVideoX-2B: scaled-linear betas, SNR shift, zero terminal SNR."""

    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    snr_shift: float = 3.0


@dataclass(frozen=True)
class ModelConfig:
    """A whole checkpoint.

    Args:
        layout: its row; a unified checkpoint may run it with any clips given.
        unified: trained with any subset of clips given, not with the row's own alone.
        text_encoder: ``T5Config`` fields, None if the file has no text encoder.
        vae: ``AutoencoderKLCogVideoX`` config, None if the file has no VAE.
        fps: frame rate of its training clips.
        sampler: fields of ``SamplerSettings`` that this checkpoint works best with; what is left out is the official value.
        sampler_given: by the name of a clip, those that are otherwise when it is given: what is copied needs less guidance
            than what is made up.
        preview: [latent_channels + 1][3], a linear map (last row: offset) from a latent to 0..1 RGB; None: no map known.
        reconstruction_limit: mean absolute error (0..1) that the VAE has at most on footage of the kind this checkpoint
            was trained on; worse footage brings a warning. None: any footage, nothing is measured.
    """

    layout: Layout
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    unified: bool = False
    text_encoder: Mapping[str, Any] | None = None
    vae: Mapping[str, Any] | None = None
    fps: float = 8.0
    sampler: Mapping[str, Any] = field(default_factory=dict)
    sampler_given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preview: tuple[tuple[float, ...], ...] | None = None
    reconstruction_limit: float | None = None

    @property
    def text_length(self) -> int:
        """Text tokens of the whole sequence."""
        return len(self.layout.texts) * self.network.tokens_per_text

    @property
    def sequence_length(self) -> int:
        return self.text_length + self.layout.network_frames * self.network.tokens_per_frame

    def sampler_for(self, given: Iterable[str] = ()) -> dict[str, Any]:
        """Fields of ``SamplerSettings`` for a run with these clips given."""
        otherwise = [self.sampler_given[name] for name in given if name in self.sampler_given]
        return {key: value for fields in (self.sampler, *otherwise) for key, value in fields.items()}

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Raises CheckpointError if the text is no config of this format."""
        try:
            data = json.loads(text)
            if data.pop("format", None) != FORMAT_VERSION:
                raise CheckpointError(f"checkpoint format is not {FORMAT_VERSION}: written by another version of this pack; convert the original file again")
            data["layout"] = Layout.from_json(data["layout"])
            data["network"] = NetworkConfig(**data["network"])
            data["schedule"] = ScheduleConfig(**data["schedule"])
            return cls(**data)
        except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint's config cannot be read ({error}); the file is damaged or not of this pack") from error
