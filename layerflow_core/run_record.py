"""What a run was made with, as ``layers.json`` says it."""

from __future__ import annotations

from dataclasses import asdict

from .model.loading import LayerFlowModel
from .pipeline import Run


def describe_run(model: LayerFlowModel, run: Run, task: str) -> dict[str, object]:
    """Facts for the record of a set: enough to make it again."""
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
