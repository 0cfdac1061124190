"""A configured training from its file to its result."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import TrainingError
from ..layer_files.contact_sheet import draw_sheet
from ..layout import THREE_TEXTS
from ..model.loading import LayerFlowModel, load_model, network_tensors
from ..model.lora import CONTENT, MOTION, adapter_names, add_adapter, set_strengths
from ..model.lora_file import add_lora, read_lora, write_lora
from ..pipeline import Run, make_layers
from ..runtime.devices import multiplies_halves
from ..sampling.sampler import SamplerSettings
from ..sampling.schedule import Schedule
from ..video.png import write_png
from ..weights.checkpoint import Checkpoint, digest, read_checkpoint, write_checkpoint
from .config import TrainingConfig
from .data.cache import LatentCache, build_cache
from .memory_estimate import estimate_memory
from .objective import BatchMaker, LayerObjective, LayerTrainingModule, Mixture
from .stages import Stage, choose_trainable, find_stage, task_layouts
from .trainer import Trainer, find_processes

DEFAULT_RANKS = {MOTION: 8, CONTENT: 256}  # official, for the 2B network


def run_training(config: TrainingConfig, check_only: bool = False) -> Path | None:
    """Prepare data, train, write the result.

    Args:
        check_only: stop when model, data and plan were found to fit and the memory plan is printed.

    Returns:
        The file that was written: a LoRA, or a whole checkpoint; None if the training was told to stop before its end.

    Raises:
        LayerFlowError: model, data or plan do not fit; before training starts.
    """
    stage = find_stage(config.stage.name)
    config = _avoid_emulation(config)
    model = load_model(config.model.checkpoint, _frozen_dtype(stage, config))
    sources = {
        name: section.open(model.config.layout.names) for name, section in config.data.items()
    }
    network = prepare_network(model, stage, config)
    if find_processes().is_local_main_process:
        print(estimate_memory(network, config.plan), flush=True)
    if check_only:
        return None
    caches = {name: _cache(sources[name], stage, name, model, config) for name in stage.sources}
    maker = BatchMaker(
        _mix(caches, stage), task_layouts(model.config.layout, config.stage.tasks), config.plan.seed
    )
    objective = LayerObjective(Schedule(model.config.schedule))
    provenance = _provenance(model, caches, config)
    sampler = _sampler(model, sources, stage, config) if config.plan.sample_every else None
    trainer = Trainer(
        LayerTrainingModule(network, objective, config.plan.gradient_checkpointing),
        maker,
        config.plan,
        config.output,
        sampler,
        provenance,
    )
    if not trainer.run():
        trainer.accelerator.print(
            f"stopped after step {trainer.progress.step}; start it again to resume"
        )
        return None
    with trainer.kept_weights():
        return (
            _write_result(network, stage, config) if trainer.accelerator.is_main_process else None
        )


def _avoid_emulation(config: TrainingConfig) -> TrainingConfig:
    """Float32 instead of halves that the processor would have to emulate: more exact, and several times as fast."""
    processes = find_processes()
    if config.plan.precision == "no" or multiplies_halves(processes.device):
        return config
    if processes.is_local_main_process:
        print(
            f"this processor has no {config.plan.precision} arithmetic: computing in float32 instead",
            file=sys.stderr,
        )
    return replace(config, plan=replace(config.plan, precision="no"))


def _frozen_dtype(stage: Stage, config: TrainingConfig) -> torch.dtype:
    """Weights that a LoRA stage keeps frozen need no more bits than the computing has."""
    return _computing_dtype(config) if stage.adapter else torch.float32


def _computing_dtype(config: TrainingConfig) -> torch.dtype:
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.plan.precision, torch.float32)


def prepare_network(model: LayerFlowModel, stage: Stage, config: TrainingConfig):
    """The model's network with the LoRA that the stage needs, the right parameters requiring gradients."""
    network = model.network
    for kind, path in ((MOTION, config.model.motion_lora), (CONTENT, config.model.content_lora)):
        if path is not None:
            lora = read_lora(path)
            if lora.adapter != kind:
                raise TrainingError(f"{path} is a {lora.adapter} LoRA, expected {kind}")
            add_lora(network, lora, path)
    if stage.adapter:
        if stage.adapter in adapter_names(network.backbone):
            raise TrainingError(
                f"stage {stage.name!r} trains a {stage.adapter} LoRA and the model already has one"
            )
        add_adapter(
            network.backbone, stage.adapter, config.stage.rank or DEFAULT_RANKS[stage.adapter]
        )
    # All adapters take part; the motion one as strongly as each sample says.
    set_strengths(network.backbone, dict.fromkeys(adapter_names(network.backbone), 1.0))
    trained = set(choose_trainable(network, stage.adapter, config.stage.blocks))
    for name, parameter in network.named_parameters():
        if name in trained:  # small steps would be lost in half precision
            parameter.data = parameter.data.float()
    return network


def _cache(
    source, stage: Stage, name: str, model: LayerFlowModel, config: TrainingConfig
) -> LatentCache:
    """A source's latents; every process encodes its part."""
    processes = find_processes()
    parts = (model.require_vae().vae, model.require_text().t5)

    def report(done: int, total: int) -> None:
        if processes.is_local_main_process:
            print(
                f"\rencode {name}: {done}/{total} shards",
                end="\n" if done == total else "",
                file=sys.stderr,
                flush=True,
            )

    share = (processes.process_index, processes.num_processes)
    treatment = stage.sources[name].treatment
    root = (config.cache or config.output / "cache") / config.plan.precision
    dtype = _computing_dtype(config)
    for part in parts:
        part.to(processes.device)
    with torch.autocast(processes.device.type, dtype, enabled=dtype != torch.float32):
        cache = build_cache(
            source,
            treatment,
            model,
            root,
            config.plan.seed,
            config.data[name].variants,
            report,
            share,
        )
    for part in parts:
        part.to("cpu")
    processes.wait_for_everyone()
    return cache


def _provenance(
    model: LayerFlowModel, caches: Mapping[str, LatentCache], config: TrainingConfig
) -> dict[str, str]:
    """What may not change under a training that resumes: model, LoRA, stage and data."""
    loras = {
        kind: digest(path)
        for kind, path in ((MOTION, config.model.motion_lora), (CONTENT, config.model.content_lora))
        if path
    }
    data = {f"data.{name}": cache.folder.name for name, cache in caches.items()}
    return {"checkpoint": model.digest, "stage": repr(config.stage), **loras, **data}


def _mix(caches: Mapping[str, LatentCache], stage: Stage) -> Mixture:
    return Mixture(
        [(caches[name], source.motion, source.share) for name, source in stage.sources.items()]
    )


def _sampler(model: LayerFlowModel, sources: Mapping, stage: Stage, config: TrainingConfig):
    """Draws a contact sheet of the first source's first clip's prompts, with the motion switch off as at inference."""
    clip = sources[next(iter(stage.sources))][0]
    run = Run(
        {name: clip.prompts[name] for name in THREE_TEXTS if name in clip.prompts},
        {},
        SamplerSettings(**model.config.sampler_for()),
        config.plan.seed,
    )

    def draw(step: int) -> Tensor:
        backbone = model.network.backbone
        present = adapter_names(backbone)
        set_strengths(backbone, {name: float(name != MOTION) for name in present})
        layers = make_layers(model, run)
        set_strengths(backbone, dict.fromkeys(present, 1.0))
        sheet = draw_sheet(layers)
        write_png(config.output / "samples" / f"step_{step:08d}.png", sheet)
        return sheet

    return draw


def _write_result(network, stage: Stage, config: TrainingConfig) -> Path:
    path = config.output / f"{stage.name}.safetensors"
    if stage.adapter:
        write_lora(path, network, stage.adapter)
        return path
    whole = read_checkpoint(config.model.checkpoint)
    others = {
        key: value
        for key, value in whole.tensors.items()
        if not key.startswith(("network.", "lora."))
    }
    dtype = next(
        value.dtype for key, value in whole.tensors.items() if key.startswith("network.backbone.")
    )
    tensors = {f"network.{key}": value.to(dtype) for key, value in network_tensors(network).items()}
    write_checkpoint(Checkpoint(whole.config, {**others, **tensors}), path)
    return path
