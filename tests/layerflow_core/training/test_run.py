"""The three stages, one after another, on two clips of the procedural world and a small model."""

import os
from pathlib import Path

import pytest
import torch

from layerflow_core import cli
from layerflow_core.layer_files.record import RECORD
from layerflow_core.model.loading import load_model
from layerflow_core.model.lora import adapter_names
from layerflow_core.model.lora_file import attach_lora, read_lora
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.training.data.clip_folder import LayerClip, write_clip

AcceleratorState = pytest.importorskip("accelerate.state").AcceleratorState
pytest.importorskip("pydantic")
STEPS = 2
PLAN = """
[plan]
steps = 2
precision = "{}"
lr = 1e-2
warmup_steps = 1
sample_every = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of two clips."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    root = tmp_path_factory.mktemp("training")
    for seed in range(2):
        scene = draw_scene(seed)
        write_clip(root / "clips", LayerClip("scene", vars(render(scene)), scene.prompts))
    return root


@pytest.fixture(scope="module")
def train(quick_checkpoint):
    """(folder, stage, data, ...) -> the status of a training on a small model."""

    def run(
        folder: Path,
        name: str,
        data: str,
        model: str = "",
        stage: str = "",
        precision: str = "no",
        options: tuple[str, ...] = (),
    ) -> int:
        head = f'output = "{name}"\ncache = "cache"\n'
        model = f'[model]\ncheckpoint = "{quick_checkpoint}"\n{model}\n'
        stage = f'[stage]\nname = "{name}"\ntasks = "all"\n{stage}\n'
        path = folder / f"{name}.toml"
        path.write_text(f"{head}{model}{stage}{data}{PLAN.format(precision)}")
        # One process has one precision, and these are several trainings in one.
        AcceleratorState._reset_state(True)
        return cli.main(["train", str(path), *options])

    return run


PASTED = (
    '[data.pasted]\nformat = "pasted"\nforegrounds = "clips"\nbackgrounds = "clips"\ncount = 2\n'
)


@pytest.fixture(scope="module")
def trained(folder, train):
    assert train(folder, "base", '[data.coarse]\nfolder = "clips"\n') == 0
    assert train(folder, "motion", PASTED, stage="rank = 2", precision="bf16") == 0
    stills = '[data.stills]\nfolder = "clips"\n'
    assert (
        train(
            folder,
            "content",
            stills + PASTED,
            'motion_lora = "motion/motion.safetensors"',
            "rank = 4",
        )
        == 0
    )
    return folder


def test_base_changes_the_sixth_block_and_nothing_else(trained, quick_model):
    base, before = (
        load_model(trained / "base" / "base.safetensors"),
        quick_model.network.state_dict(),
    )
    changed = {
        name
        for name, value in base.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    allowed = (
        "backbone.transformer_blocks.5.",
        "layer_embedder.",
        "backbone.patch_embed.pos_embedding",
    )
    assert changed and all(name.startswith(allowed) for name in changed)
    assert base.config == quick_model.config and torch.equal(
        base.text.t5.shared.weight, quick_model.text.t5.shared.weight
    )


def test_loras_hold_what_their_stages_trained(trained, quick_model):
    motion, content = (
        read_lora(trained / name / f"{name}.safetensors") for name in ("motion", "content")
    )
    assert (motion.adapter, motion.rank, content.adapter, content.rank) == (
        "motion",
        2,
        "content",
        4,
    )
    assert all(
        path.startswith("transformer_blocks.5.")
        for lora in (motion, content)
        for path in lora.paths
    )
    both = attach_lora(
        quick_model,
        [trained / "motion" / "motion.safetensors", trained / "content" / "content.safetensors"],
    )
    assert adapter_names(both.network.backbone) == ("content", "motion") and both.strengths == {
        "content": 1.0,
        "motion": 0.0,
    }


def test_a_training_leaves_logs_sheets_and_a_checkpoint(trained):
    for name in ("base", "motion", "content"):
        assert (trained / name / "samples" / f"step_{STEPS:08d}.png").exists()
        (events,) = (trained / name / "logs").rglob("events*")
        assert b"layers" in events.read_bytes() and b"loss" in events.read_bytes()
        assert (trained / name / "checkpoints" / f"step_{STEPS:08d}").is_dir()


def test_a_finished_training_writes_the_same_result_again(train, trained):
    path = trained / "motion" / "motion.safetensors"
    before = path.read_bytes()
    path.unlink()
    assert train(trained, "motion", PASTED, stage="rank = 2", precision="bf16") == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "name, data, model, message",
    [
        ("motion", PASTED, 'motion_lora = "motion/motion.safetensors"', "already has one"),
        (
            "content",
            '[data.stills]\nfolder = "clips"\n' + PASTED,
            'motion_lora = "content/content.safetensors"',
            "is a content LoRA, expected motion",
        ),
        ("base", '[data.coarse]\nfolder = "nowhere"\n', "", "nowhere is not there"),
        ("base", '[data.coarse]\nformat = "pasted"\n', "", "lacks foregrounds, backgrounds, count"),
        ("base", '[data.coarse]\nfolder = "clips"\nformat = "zip"\n', "", "data format 'zip'"),
    ],
)
def test_what_does_not_fit_is_said_before_training_starts(
    train, trained, capsys, name, data, model, message
):
    assert train(trained, name, data, model) == 1
    assert message in capsys.readouterr().err


def test_other_data_does_not_go_on_in_the_same_folder(train, trained, capsys):
    assert (
        train(
            trained,
            "motion",
            PASTED.replace("count = 2", "count = 3"),
            stage="rank = 2",
            precision="bf16",
        )
        == 1
    )
    assert "made with other data.pasted" in capsys.readouterr().err


def test_a_processor_without_halves_computes_in_float32(train, folder, capsys, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert (
        train(folder, "motion", PASTED, stage="rank = 2", precision="bf16", options=("--check",))
        == 0
    )
    emulated = capsys.readouterr()
    assert "computing in float32 instead" in emulated.err
    assert train(folder, "motion", PASTED, stage="rank = 2", options=("--check",)) == 0
    assert capsys.readouterr().out == emulated.out


def test_check_prints_the_memory_plan_and_trains_nothing(train, folder, capsys):
    (folder / "base").mkdir(exist_ok=True)
    before = sorted(folder.rglob("*.safetensors"))
    assert train(folder, "base", '[data.coarse]\nfolder = "clips"\n', options=("--check",)) == 0
    assert (
        "GiB a device" in capsys.readouterr().out
        and sorted(folder.rglob("*.safetensors")) == before
    )


def test_a_broken_clip_stops_the_training_before_its_first_step(train, folder, tmp_path, capsys):
    scene = draw_scene(5)
    clip = LayerClip("scene", vars(render(scene)), scene.prompts)
    for _ in range(2):
        write_clip(tmp_path / "clips", clip)
    broken = sorted((tmp_path / "clips" / "scene_00002").rglob("*.png"))[3]
    broken.write_bytes(b"")
    assert train(tmp_path, "base", '[data.coarse]\nfolder = "clips"\n') == 1
    assert f"{broken.name} cannot be read" in capsys.readouterr().err
    assert (
        not (tmp_path / "base" / "checkpoints").exists()
        and (tmp_path / "clips" / "scene_00001" / RECORD).exists()
    )
