import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from layerflow_core.errors import OutOfMemoryError
from layerflow_core.model.lora_file import with_network
from layerflow_core.model.vae import LayerVAE
from layerflow_core.pipeline import Host, Run, SilentObserver, make_layers
from layerflow_core.runtime.latent_store import LatentStore, name_run
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene, render

PACK = Path(__file__).parents[3]
SCENE = draw_scene(11, held_out=True)
RUN = Run(SCENE.prompts, {"blended": render(SCENE).blended}, SamplerSettings(1, "constant", 1.0), 4)


class Counter(SilentObserver):
    def __init__(self):
        self.steps = 0

    def step(self, done, total, preview):
        self.steps += 1


def key_of(model, run):
    return name_run(
        model, model.config.layout, run.prompts, run.given, run.settings, run.seed, run.window
    )


def test_a_failed_decode_costs_no_sampling(quick_model, tmp_path, monkeypatch):
    host = Host(Counter(), latents=LatentStore(tmp_path / "latents"))
    expected = make_layers(quick_model, RUN)
    with monkeypatch.context() as broken, pytest.raises(OutOfMemoryError):
        broken.setattr(
            LayerVAE,
            "decode",
            lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("CUDA out of memory")),
        )
        make_layers(quick_model, RUN, host)
    assert host.observer.steps == 1 and len(list((tmp_path / "latents").iterdir())) == 1
    again = make_layers(quick_model, RUN, host)
    assert host.observer.steps == 1, "it was not sampled again"
    assert all(torch.equal(a, b) for a, b in zip(again.clips().values(), expected.clips().values()))
    assert not (tmp_path / "latents").exists(), "what is decoded is forgotten"
    make_layers(quick_model, RUN, host)
    assert host.observer.steps == 2


def test_every_difference_is_another_run(quick_model):
    blended = RUN.given["blended"].clone()
    blended[0, 0, 0, 0] += 0.01
    others = [
        replace(RUN, **change)
        for change in (
            {"seed": 5},
            {"window": 1},
            {"prompts": {}},
            {"given": {}},
            {"given": {"blended": blended}},
            {"settings": SamplerSettings(2, "constant", 1.0)},
        )
    ]
    keys = {key_of(quick_model, run) for run in (RUN, *others)}
    keys |= {
        key_of(with_network(quick_model, quick_model.network, 0.5), RUN),
        key_of(replace(quick_model, strengths={"content": 0.5}), RUN),
    }
    assert len(keys) == 9
    assert (
        key_of(quick_model, replace(RUN, given={"blended": RUN.given["blended"].clone()})) in keys
    )


def test_a_model_from_memory_has_no_name(quick_model):
    assert key_of(replace(quick_model, provenance=()), RUN) == ""


def test_a_damaged_file_is_as_good_as_none(tmp_path):
    store = LatentStore(tmp_path)
    store.keep("run", torch.rand(1, 2, 3, 4, 5))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-7], whole[:50], b"x" * 300, whole[:8] + b"[" * 300):
        path.write_bytes(damaged)
        assert store.find("run") is None
    path.write_bytes(whole)
    assert store.find("run").shape == (1, 2, 3, 4, 5)


def test_found_latents_outlive_their_file(tmp_path):
    store = LatentStore(tmp_path)
    latents = torch.rand(1, 2, 3, 4, 5)
    store.keep("run", latents)
    found = store.find("run")
    (path,) = tmp_path.iterdir()
    path.write_bytes(
        b""
    )  # as another process that keeps the same run; a mapped file would be a bus error now
    assert torch.equal(found, latents)


def test_runs_that_nobody_repeats_do_not_pile_up(tmp_path):
    store = LatentStore(tmp_path)
    for number in range(30):
        store.keep(f"run {number}", torch.zeros(1))
        os.utime(tmp_path / f"run {number}.safetensors", (number, number))
    assert len(list(tmp_path.iterdir())) == 20
    assert store.find("run 29") is not None
    assert store.find("run 3") is None


@pytest.mark.parametrize("failure", ["no folder", "disk full"])
def test_a_run_whose_latents_cannot_be_kept_is_decoded_all_the_same(
    quick_model, tmp_path, monkeypatch, caplog, failure
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("no folder")
    folder = tmp_path / "file" / "latents" if failure == "no folder" else tmp_path / "latents"
    if failure == "disk full":
        monkeypatch.setattr("layerflow_core.weights.tensor_file._bytes_of", full)
    made = make_layers(quick_model, RUN, Host(Counter(), latents=LatentStore(folder)))
    expected = make_layers(quick_model, RUN)
    assert all(torch.equal(a, b) for a, b in zip(made.clips().values(), expected.clips().values()))
    warnings = [record for record in caplog.records if "not kept on disk" in record.getMessage()]
    assert len(warnings) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "file"]


_RACE = """
import sys, torch
from pathlib import Path
from layerflow_core.runtime.latent_store import LatentStore
store = LatentStore(Path(sys.argv[1]))
torch.set_num_threads(1)
for number in range(150):
    store.keep("run", torch.full((1, 2, 3, 40, 50), float(number)))
    found = store.find("run")
    assert found is None or bool((found == found.flatten()[0]).all())
    store.forget("run")
"""


def test_a_folder_that_goes_meanwhile_is_no_error(tmp_path, monkeypatch):
    store = LatentStore(tmp_path / "latents")
    glob = Path.glob

    def forgotten(folder, pattern):
        (tmp_path / "latents" / "run.safetensors").unlink()
        (tmp_path / "latents").rmdir()
        # As pathlib does it before Python 3.13.
        os.scandir(folder)
        return glob(folder, pattern)

    monkeypatch.setattr(Path, "glob", forgotten)
    store.keep("run", torch.zeros(1))
    assert store.find("run") is None


def test_processes_that_keep_one_run_do_not_meet(tmp_path):
    command = [sys.executable, "-c", _RACE, str(tmp_path / "latents")]
    processes = [
        subprocess.Popen(command, cwd=PACK, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
