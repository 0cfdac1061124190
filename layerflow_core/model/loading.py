"""From a file to a model that runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CheckpointError, MissingPartError
from ..weights.block_count import count_blocks
from ..weights.checkpoint import (
    TOKENIZER_KEY,
    Checkpoint,
    decode_bytes,
    describe_file,
    digest,
    load_strictly,
    read_checkpoint,
)
from ..weights.component_config import t5_fields, vae_fields
from ..weights.components import (
    TEXT_PART,
    VAE_PART,
    Components,
    Part,
    read_text_encoder,
    read_tokenizer,
    read_vae,
)
from ..weights.tensor_file import MemorySource
from .lora import (
    CONTENT,
    DEFAULT_STRENGTHS,
    MOTION,
    adapter_paths,
    add_adapter,
    file_key,
    is_projection,
    set_strengths,
)
from .network import LayerFlowNetwork
from .text import TextEncoder, build_t5, untie
from .vae import LayerVAE, build_vae


@dataclass(frozen=True)
class AppliedLora:
    """A LoRA file that a model was given after it was loaded."""

    name: str
    strength: float
    sha256: str

    @classmethod
    def of(cls, path: Path, strength: float) -> AppliedLora:
        return cls(path.name, float(strength), digest(path))


@dataclass
class LayerFlowModel:
    """The parts of one checkpoint, in memory.

    Args:
        text, vae: None where the file has none; ``require_text`` and ``require_vae`` say what to do then.
        source: file it came from.
        provenance: all that its weights were made of, as text; empty for a model that was built in memory.
        loras: files that were put on top, in this order.
        sampler_overrides: fields of ``SamplerSettings`` that go before the checkpoint's own.
    """

    config: ModelConfig
    network: LayerFlowNetwork
    text: TextEncoder | None = None
    vae: LayerVAE | None = None
    source: Path | None = None
    strengths: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_STRENGTHS))
    provenance: tuple[str, ...] = ()
    loras: tuple[AppliedLora, ...] = ()
    sampler_overrides: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """sha256 of the file, '' for a model that was built in memory."""
        return digest(self.source) if self.source else ""

    def sampler_for(self, given: Iterable[str] = ()) -> dict[str, Any]:
        """Fields of ``SamplerSettings`` for a run with these clips given: the checkpoint's own, and
        what was chosen for this model instead.
        """
        return {**self.config.sampler_for(given), **self.sampler_overrides}

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width in pixels of the one size that the model works at."""
        factor = self.require_vae().spatial_factor
        return self.config.network.latent_height * factor, self.config.network.latent_width * factor

    def require_text(self) -> TextEncoder:
        """Raises MissingPartError if there is no text encoder."""
        if self.text is None:
            raise MissingPartError(
                f"{self.source} has no text encoder; convert it again with --base and a CogVideoX-2b folder"
            )
        return self.text

    def require_vae(self) -> LayerVAE:
        """Raises MissingPartError if there is no VAE."""
        if self.vae is None:
            raise MissingPartError(
                f"{self.source} has no VAE; convert it again with --base and a CogVideoX-2b folder"
            )
        return self.vae

    def set_strengths(self, content: float = 1.0, motion: float = 0.0) -> None:
        """Strengths of the two LoRAs; raises CheckpointError for one that the checkpoint lacks."""
        self.strengths = {CONTENT: content, MOTION: motion}
        set_strengths(self.network.backbone, dict(self.strengths))


def build_network(config: ModelConfig, tensors: Mapping[str, Tensor]) -> LayerFlowNetwork:
    """A network of these very tensors, adapters attached, content on and motion off, ready for inference.

    Args:
        tensors: ``position_table``, ``layer_embedder.*``, ``backbone.*``, ``content.*``, ``motion.*``; an adapter's may
            be left out where it changes nothing.

    Raises:
        CheckpointError: a key is missing, unexpected or of the wrong shape.
    """
    _check_dimensions(config, tensors)
    with torch.device("meta"):  # no random weights for two billion parameters, only to be replaced
        network = _empty_network(config)
        for name, rank in (
            (CONTENT, config.network.content_rank),
            (MOTION, config.network.motion_rank),
        ):
            paths = [
                path
                for path in adapter_paths(tensors, name)
                if is_projection(network.backbone, path)
            ]
            if rank and paths:
                add_adapter(network.backbone, name, rank, paths)
    load_strictly(network, tensors, "network", file_key)
    set_strengths(network.backbone, dict(DEFAULT_STRENGTHS))
    return network.eval().requires_grad_(False).fold()


def _check_dimensions(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """What decides how much is built, before it is."""
    table = tensors.get("position_table")
    expected = (1, config.sequence_length, config.network.hidden_size)
    if table is not None and tuple(table.shape) != expected:
        raise CheckpointError(
            f"the network's weights do not fit its config; wrong shape: position_table is {list(table.shape)}, "
            f"expected {list(expected)}"
        )
    blocks = count_blocks(tensors, r"backbone\.transformer_blocks\.(\d+)\.")
    if blocks != config.network.num_layers:
        raise CheckpointError(
            f"got the weights of {blocks} blocks, expected {config.network.num_layers} as the config says"
        )


def _empty_network(config: ModelConfig) -> LayerFlowNetwork:
    try:
        return LayerFlowNetwork(config)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"no network can be built of the checkpoint's config: {error}"
        ) from error


def network_tensors(network: LayerFlowNetwork) -> dict[str, Tensor]:
    """The inverse of ``build_network``: tensors by the same keys."""
    return {file_key(key): value for key, value in network.state_dict().items()}


def assemble(
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.float32,
    source: Path | None = None,
    base: Components = Components(),
    text_dtype: torch.dtype | None = None,
    vae_dtype: torch.dtype | None = None,
) -> LayerFlowModel:
    """Build every part a checkpoint has, and those that are elsewhere.

    Args:
        dtype: of the network, and of the other parts where none is named for them.

    Raises:
        CheckpointError: where weights and config disagree.
    """
    base = _needed(checkpoint, base)
    network = (
        build_network(checkpoint.config, checkpoint.part("network") | checkpoint.part("lora"))
        .to(dtype)
        .fold()
    )
    text, vae = _text_part(checkpoint, base), _vae_part(checkpoint, base)
    _check_fit(checkpoint.config, text and text[0].config, vae and vae.config)
    config = replace(
        checkpoint.config, text_encoder=text and text[0].config, vae=vae and vae.config
    )
    return LayerFlowModel(
        config,
        network,
        _build_text(*text, text_dtype or dtype, config.network.tokens_per_text) if text else None,
        _build_vae(vae, vae_dtype or dtype) if vae else None,
        source,
        provenance=(
            str(dtype),
            *(str(other) for other in (text_dtype, vae_dtype) if other not in (None, dtype)),
            *(
                describe_file(path)
                for path in (source, base.text_encoder, base.tokenizer, base.vae)
                if path
            ),
        )
        if source
        else (),
    )


def _needed(checkpoint: Checkpoint, base: Components) -> Components:
    """Without a tokenizer that nobody reads: the checkpoint's own goes with its own text encoder."""
    is_own = checkpoint.config.text_encoder and TOKENIZER_KEY in checkpoint.tensors
    has_text = base.text_encoder or checkpoint.config.text_encoder
    is_idle = not has_text or (is_own and not base.text_encoder)
    return replace(base, tokenizer=None) if is_idle else base


def _check_fit(
    config: ModelConfig, text: Mapping[str, Any] | None, vae: Mapping[str, Any] | None
) -> None:
    network = config.network
    if text and text["d_model"] != network.text_embed_dim:
        raise CheckpointError(
            f"got a text encoder of width {text['d_model']}, the network expects "
            f"{network.text_embed_dim}: take the one it was trained with"
        )
    if vae and vae.get("latent_channels") != network.latent_channels:
        raise CheckpointError(
            f"got a VAE of {vae['latent_channels']} latent channels, the network expects {network.latent_channels}"
        )


def _text_part(checkpoint: Checkpoint, base: Components) -> tuple[Part, bytes] | None:
    """The text encoder and its tokenizer, named from outside or the checkpoint's own."""
    if base.text_encoder:
        part = read_text_encoder(base.text_encoder)
    elif checkpoint.config.text_encoder:
        fields = t5_fields(checkpoint.config.text_encoder, "the checkpoint's text encoder config")
        part = Part(fields, MemorySource(checkpoint.part(TEXT_PART)))
    else:
        return None
    inside = checkpoint.tensors.get(TOKENIZER_KEY)
    if base.tokenizer is None and inside is not None:
        return part, decode_bytes(inside, TOKENIZER_KEY)
    return part, read_tokenizer(base.tokenizer)


def _vae_part(checkpoint: Checkpoint, base: Components) -> Part | None:
    if base.vae:
        return read_vae(base.vae)
    if not checkpoint.config.vae:
        return None
    fields = vae_fields(checkpoint.config.vae, "the checkpoint's VAE config")
    return Part(fields, MemorySource(checkpoint.part(VAE_PART)))


def _build_text(part: Part, tokenizer: bytes, dtype: torch.dtype, tokens: int) -> TextEncoder:
    with torch.device("meta"):
        t5 = build_t5(part.config)
    load_strictly(
        t5, untie(part.tensors.read(part.tensors.specs), set(t5.state_dict())), "text encoder"
    )
    return TextEncoder.from_data(tokenizer, _cast(t5, dtype), tokens)


def _build_vae(part: Part, dtype: torch.dtype) -> LayerVAE:
    with torch.device("meta"):
        vae = build_vae(part.config)
    load_strictly(vae, part.tensors.read(part.tensors.specs), "VAE")
    return LayerVAE(_cast(vae, dtype))


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    # Not the method: diffusers and transformers override it with warnings meant for from_pretrained.
    return nn.Module.to(module, dtype).requires_grad_(False)


def load_model(
    path: Path, dtype: torch.dtype = torch.float32, base: Components = Components()
) -> LayerFlowModel:
    """Read and build a file of our format.

    Args:
        base: parts that are elsewhere; they go before the file's own.

    Raises:
        CheckpointError: a file is missing, damaged or inconsistent.
    """
    return assemble(read_checkpoint(path), dtype, path, base)
