"""From a file to a model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CheckpointError, MissingPartError
from .checkpoint import TOKENIZER_KEY, Checkpoint, digest, load_strictly, read_checkpoint
from .lora import CONTENT, DEFAULT_STRENGTHS, MOTION, adapter_matrices, adapter_tensors, add_adapter, base_tensors, set_strengths
from .network import LayerFlowNetwork
from .text import TextEncoder, build_t5, untie
from .vae import LayerVAE, build_vae


@dataclass
class LayerFlowModel:
    """The parts of one checkpoint, in memory.

    Args:
        text, vae: None where the file has none; ``require_text`` and ``require_vae`` say what to do then.
        source: file it came from.
    """

    config: ModelConfig
    network: LayerFlowNetwork
    text: TextEncoder | None = None
    vae: LayerVAE | None = None
    source: Path | None = None
    strengths: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_STRENGTHS))

    @cached_property
    def digest(self) -> str:
        """sha256 of the file, '' for a model that was built in memory."""
        return digest(self.source) if self.source else ""

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width in pixels of the one size that the model works at."""
        factor = self.require_vae().spatial_factor
        return self.config.network.latent_height * factor, self.config.network.latent_width * factor

    def require_text(self) -> TextEncoder:
        """Raises MissingPartError if there is no text encoder."""
        if self.text is None:
            raise MissingPartError(f"{self.source} has no text encoder; convert it again with --base and a CogVideoX-2b folder")
        return self.text

    def require_vae(self) -> LayerVAE:
        """Raises MissingPartError if there is no VAE."""
        if self.vae is None:
            raise MissingPartError(f"{self.source} has no VAE; convert it again with --base and a CogVideoX-2b folder")
        return self.vae

    def set_strengths(self, content: float = 1.0, motion: float = 0.0) -> None:
        """Strengths of the two LoRAs; raises CheckpointError for one that the checkpoint lacks."""
        self.strengths = {CONTENT: content, MOTION: motion}
        set_strengths(self.network.backbone, dict(self.strengths))


def build_network(config: ModelConfig, tensors: Mapping[str, Tensor]) -> LayerFlowNetwork:
    """A network with weights, adapters attached, content on and motion off, ready for inference.

    Args:
        tensors: ``position_table``, ``layer_embedder.*``, ``backbone.*``, ``content.*``, ``motion.*``.

    Raises:
        CheckpointError: a key is missing, unexpected or of the wrong shape.
    """
    network = LayerFlowNetwork(config)
    adapters = {k: v for k, v in tensors.items() if k.split(".")[0] in DEFAULT_STRENGTHS}
    load_strictly(network, {k: v for k, v in tensors.items() if k not in adapters}, "network")
    for name, rank in ((CONTENT, config.network.content_rank), (MOTION, config.network.motion_rank)):
        if rank:
            add_adapter(network.backbone, name, rank)
    _load_adapters(network, adapters)
    if adapters:
        set_strengths(network.backbone, dict(DEFAULT_STRENGTHS))
    return network.eval().requires_grad_(False).fold()


def _load_adapters(network: LayerFlowNetwork, tensors: Mapping[str, Tensor]) -> None:
    left = dict(tensors)
    for key, matrix in adapter_matrices(network.backbone):
        if key not in left:
            raise CheckpointError(f"the checkpoint lacks LoRA tensor {key}: the file is incomplete")
        load_strictly(matrix, {"weight": left.pop(key)}, f"LoRA {key}")
    if left:
        raise CheckpointError(f"unexpected LoRA tensors {sorted(left)[:5]} met: the config's ranks do not name them")


def network_tensors(network: LayerFlowNetwork) -> dict[str, Tensor]:
    """The inverse of ``build_network``: tensors by the same keys."""
    base = {f"backbone.{k}": v for k, v in base_tensors(network.backbone).items()}
    own = {k: v for k, v in network.state_dict().items() if not k.startswith("backbone.")}
    return {**own, **base, **adapter_tensors(network.backbone)}


def assemble(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32, source: Path | None = None) -> LayerFlowModel:
    """Build every part a checkpoint has; raises CheckpointError where weights and config disagree."""
    config = checkpoint.config
    network = build_network(config, checkpoint.part("network") | checkpoint.part("lora")).to(dtype).fold()
    text = vae = None
    if config.text_encoder is not None:
        t5 = build_t5(config.text_encoder)
        load_strictly(t5, untie(checkpoint.part("text_encoder"), set(t5.state_dict())), "text encoder")
        if TOKENIZER_KEY not in checkpoint.tensors:
            raise CheckpointError("the checkpoint has a text encoder but no tokenizer: the file is incomplete")
        tokenizer = checkpoint.tensors[TOKENIZER_KEY].numpy().tobytes()
        text = TextEncoder.from_data(tokenizer, _cast(t5, dtype), config.network.tokens_per_text)
    if config.vae is not None:
        vae_module = build_vae(config.vae)
        load_strictly(vae_module, checkpoint.part("vae"), "VAE")
        vae = LayerVAE(_cast(vae_module, dtype))
    return LayerFlowModel(config, network, text, vae, source)


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    # Not the method: diffusers and transformers override it with warnings meant for from_pretrained.
    return nn.Module.to(module, dtype).requires_grad_(False)


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> LayerFlowModel:
    """Read and build a file of our format.

    Raises:
        CheckpointError: the file is missing, damaged or inconsistent.
    """
    return assemble(read_checkpoint(path), dtype, path)
