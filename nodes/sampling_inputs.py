"""The widgets that every sampling node shares, and what they mean to the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..layerflow_core.pipeline import Run
from ..layerflow_core.sampling.guidance import GUIDANCES
from ..layerflow_core.sampling.noise import LARGEST_SEED
from ..layerflow_core.sampling.sampler import SamplerSettings
from ..layerflow_core.sampling.schedule import MOST_STEPS
from ..layerflow_core.sampling.solver import SOLVERS

AS_TRAINED = "model default"

SAMPLING_INPUTS: Mapping[str, tuple] = {
    "seed": (
        "INT",
        {
            "default": 0,
            "min": 0,
            "max": LARGEST_SEED,
            "control_after_generate": True,
            "tooltip": "Same inputs and same seed give the same layers, bit for bit on the same "
            "machine while every part keeps its memory plan: when memory runs out, the next "
            "plan computes in other pieces, which changes the last digits.",
        },
    ),
    "steps": (
        "INT",
        {
            "default": 20,
            "min": 1,
            "max": MOST_STEPS,
            "tooltip": "Sampling steps. The embedded model's published figures are of 20; the "
            "official checkpoints were shown with 50.",
        },
    ),
    "guidance": (
        [AS_TRAINED, *GUIDANCES],
        {
            "default": AS_TRAINED,
            "tooltip": "How strongly the prompts pull. 'model default' takes guidance, scale "
            "and solver from the checkpoint; 'dynamic' is CogVideoX's DynamicCFG, 'constant' "
            "plain classifier-free guidance.",
        },
    ),
    "scale": (
        "FLOAT",
        {
            "default": 6.0,
            "min": 0.0,
            "max": 30.0,
            "step": 0.1,
            "tooltip": "Guidance scale, used unless guidance is 'model default'.",
        },
    ),
    "solver": (
        [AS_TRAINED, *SOLVERS],
        {
            "default": AS_TRAINED,
            "tooltip": "'dpmpp_2m_sde' is the official stochastic solver, 'dpmpp_2m' the deterministic one.",
        },
    ),
}


def read_run(
    model, prompts: Mapping[str, str], layers: Mapping, given: Iterable[str], widgets: Mapping
) -> Run:
    """Widgets to a run, the checkpoint's own settings where they say so.

    Args:
        layers: given ones, fitted to the model; empty where a run finds them itself.
        given: names of all that will be given.
        widgets: values by the names of ``SAMPLING_INPUTS``.
    """
    chosen: dict[str, Any] = {**model.sampler_for(given), "steps": widgets["steps"]}
    if widgets["guidance"] != AS_TRAINED:
        chosen |= {"guidance": widgets["guidance"], "scale": widgets["scale"]}
    if widgets["solver"] != AS_TRAINED:
        chosen["solver"] = widgets["solver"]
    return Run(prompts, layers, SamplerSettings(**chosen), widgets["seed"])
