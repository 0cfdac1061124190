"""Several processes against one: on a CPU with gloo, as torchrun launches them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from layerflow_core.errors import SamplingError
from layerflow_core.pipeline import Host, Run, make_layers
from layerflow_core.runtime.parallel import SINGLE_PROCESS, join_process_group
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene

WORKER = Path(__file__).with_name("parallel_worker.py")
PACK = Path(__file__).parents[3]
RUN = Run(draw_scene(3, held_out=True).prompts, {}, SamplerSettings(3, "constant", 3.0), 1)


def test_several_processes_draw_what_one_draws(tmp_path, quick_model, quick_checkpoint):
    """Both branches of guidance on two processes each.

    Three heads and a sequence of odd length: nothing divides evenly.
    """
    pytest.importorskip("diffusers.hooks.context_parallel")
    shared = tmp_path / "shared.safetensors"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "4",
        str(WORKER),
        str(quick_checkpoint),
        str(shared),
        "2",
    ]
    done = subprocess.run(command, cwd=PACK, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, expected in make_layers(quick_model, RUN).clips().items():
        assert torch.allclose(load_file(shared)[name], expected, atol=1e-4), name


def test_processes_that_cannot_be_shared_out(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(SamplingError, match="3 processes and a sequence split 1 times"):
        join_process_group(torch.device("cpu"))


def test_an_old_diffusers_is_named(monkeypatch):
    import diffusers

    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(diffusers, "ContextParallelConfig", None, raising=False)
    with pytest.raises(SamplingError, match="install a newer one"):
        join_process_group(torch.device("cpu"))


def test_without_torchrun_there_is_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (
        join_process_group(torch.device("cpu")) is SINGLE_PROCESS
        and SINGLE_PROCESS.is_first
        and SINGLE_PROCESS.broadcast(None) is None
    )


def test_a_step_cache_is_refused_on_several(quick_model, monkeypatch):
    from dataclasses import replace

    run = Run({"foreground": "a dog"}, {}, SamplerSettings(2, step_cache=0.1))
    with pytest.raises(SamplingError, match="several processes"):
        make_layers(quick_model, run, Host(group=replace(SINGLE_PROCESS, size=2)))
