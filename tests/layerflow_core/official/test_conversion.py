import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from layerflow_core.errors import CheckpointError, LayoutError
from layerflow_core.model.loading import load_model
from layerflow_core.official.conversion import FP8, Conversion, convert_official
from layerflow_core.official.keys import PREFIX
from layerflow_core.official.verification import GOLDEN, verify_folder
from layerflow_core.weights.checkpoint import digest

FIXTURE = "gen_rgba"
EXACT = Conversion(dtype=torch.float32)


@pytest.fixture
def tensors():
    return load_file(GOLDEN / f"{FIXTURE}.ckpt.safetensors")


def save_deepspeed(folder: Path, tensors, **more) -> Path:
    path = folder / "1000" / "mp_rank_00_model_states.pt"
    path.parent.mkdir(parents=True)
    torch.save({"module": tensors, "iteration": 1000, **more}, path)
    (folder / "latest").write_text("1000")
    return path


def largest_error(converted: Path, folder: Path) -> float:
    """Against the recorded calls and trajectory, through the pipeline's classes."""
    folder.mkdir()
    for end in ("json", "safetensors"):
        shutil.copy(GOLDEN / f"{FIXTURE}.{end}", folder)
    shutil.copy(converted, folder / f"{FIXTURE}.ckpt.safetensors")
    (verdict,) = verify_folder(folder)
    assert {"v_cond", "v_uncond", "v_cond_motion1", "latents"} <= verdict.errors.keys()
    return max(verdict.errors.values())


def plain_keys(tensors):
    """As the official code writes a network that never had LoRA."""
    return {
        key.replace(".original.", "."): value
        for key, value in tensors.items()
        if ".matrix_" not in key
    }


WRAPPINGS = {
    "a folder": lambda folder, tensors: save_deepspeed(folder, tensors).parents[1],
    "a file": lambda folder, tensors: save_deepspeed(folder, tensors),
    "with random states": lambda folder, tensors: save_deepspeed(
        folder, tensors, np_rng_state=np.random.get_state(), torch_rng_state=torch.get_rng_state()
    ),
    "with copies of T5 and VAE": lambda folder, tensors: save_deepspeed(
        folder,
        {
            **tensors,
            "conditioner.embedders.0.transformer.shared.weight": torch.ones(3),
            "first_stage_model.decoder.conv_in.weight": torch.ones(3),
        },
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_runs_like_the_original(wrapping, tensors, tmp_path):
    source = WRAPPINGS[wrapping](tmp_path / "official", tensors)
    name = convert_official(source, tmp_path / "out" / "b.safetensors", EXACT)
    assert name == digest(tmp_path / "out" / "b.safetensors")
    assert largest_error(tmp_path / "out" / "b.safetensors", tmp_path / "fixtures") < 1e-4


def test_the_newest_of_several_states_is_taken(tensors, tmp_path):
    path = save_deepspeed(tmp_path / "official", tensors)
    old = tmp_path / "official" / "999"
    shutil.copytree(path.parent, old)
    (old / path.name).write_bytes(b"damaged")
    convert_official(tmp_path / "official", tmp_path / "b.safetensors", EXACT)
    (tmp_path / "official" / "latest").write_text("999")
    with pytest.raises(CheckpointError, match="999.*cannot be read"):
        convert_official(tmp_path / "official", tmp_path / "c.safetensors", EXACT)


def test_merged_content_gives_the_same_and_is_gone(tensors, tmp_path):
    save_file(tensors, tmp_path / "a.safetensors")
    convert_official(
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        Conversion(dtype=torch.float32, merge=True),
    )
    written = load_file(tmp_path / "b.safetensors")
    assert not any(key.startswith("lora.content") for key in written) and any(
        key.startswith("lora.motion") for key in written
    )
    assert load_model(tmp_path / "b.safetensors").config.network.content_rank == 0
    assert largest_error(tmp_path / "b.safetensors", tmp_path / "fixtures") < 1e-4


def test_idle_lora_is_dropped_and_motion_on_demand(tensors, tmp_path):
    idle = {
        k: torch.zeros_like(v) if ".matrix_D." in k and ".layers.1." not in k else v
        for k, v in tensors.items()
    }
    save_file(idle, tmp_path / "a.safetensors")
    convert_official(
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        Conversion(dtype=torch.float32, motion=False),
    )
    lora = {key for key in load_file(tmp_path / "b.safetensors") if key.startswith("lora.")}
    assert {key.split(".")[3] for key in lora} == {"1"} and {key.split(".")[1] for key in lora} == {
        "content"
    }
    model, whole = load_model(tmp_path / "b.safetensors"), convert_and_load(idle, tmp_path)
    assert model.config.network.motion_rank == 0
    recorded = load_file(GOLDEN / f"{FIXTURE}.safetensors")
    assert torch.allclose(call(model, recorded), call(whole, recorded), atol=1e-6)
    with pytest.raises(CheckpointError, match="motion"):
        model.set_strengths(motion=1.0)


def convert_and_load(tensors, folder):
    save_file(tensors, folder / "whole.safetensors")
    convert_official(folder / "whole.safetensors", folder / "whole_out.safetensors", EXACT)
    return load_model(folder / "whole_out.safetensors")


def call(model, recorded):
    with torch.inference_mode():
        return model.network(
            recorded["probe.599.x"], recorded["in.context"].flatten(0, 1)[None], torch.tensor([599])
        )


def test_keys_without_lora(tensors, tmp_path):
    model = convert_and_load(plain_keys(tensors), tmp_path)
    assert (model.config.network.content_rank, model.config.network.motion_rank) == (0, 0)
    recorded = load_file(GOLDEN / f"{FIXTURE}.safetensors")
    off = convert_and_load(tensors, tmp_path)
    off.set_strengths(content=0.0)
    assert torch.allclose(call(model, recorded), call(off, recorded), atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.bfloat16, 0.05), (torch.float16, 0.01), (FP8, 0.3)]
)
def test_smaller_dtypes_stay_close(dtype, most, tensors, tmp_path):
    halves = {key: value.bfloat16() for key, value in tensors.items()}
    path = save_deepspeed(tmp_path / "official", halves if dtype == torch.bfloat16 else tensors)
    convert_official(path, tmp_path / "b.safetensors", Conversion("gen_rgba", dtype))
    kinds = {value.dtype for key, value in load_file(tmp_path / "b.safetensors").items()}
    assert kinds == ({FP8, torch.bfloat16} if dtype == FP8 else {dtype})
    recorded = load_file(GOLDEN / f"{FIXTURE}.safetensors")
    error = (
        (call(load_model(tmp_path / "b.safetensors"), recorded) - recorded["probe.599.v_cond"])
        .square()
        .mean()
        .sqrt()
    )
    assert error < most * recorded["probe.599.v_cond"].std()


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


def test_nothing_in_a_pickle_is_executed(tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save_deepspeed(tmp_path, tensors, args=Malicious())
    with pytest.raises(CheckpointError, match="never done"):
        convert_official(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "owned").exists() and not (tmp_path / "out.safetensors").exists()


def broken(key: str):
    return lambda tensors: {k: v for k, v in tensors.items() if key not in k}


def test_what_is_wrong_is_named_and_leaves_no_file(tensors, tmp_path):
    out = tmp_path / "out"
    path = save_deepspeed(tmp_path / "official", tensors)
    path.write_bytes(path.read_bytes()[:5000])
    save_file({"a.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    save_file(broken("layers.1.")(tensors), tmp_path / "block.safetensors")
    save_file(
        {**tensors, f"{PREFIX}time_embed.0.bias": torch.zeros(3)}, tmp_path / "shape.safetensors"
    )
    shutil.copy(GOLDEN / "fg2bg_rgba.ckpt.safetensors", tmp_path / "some.safetensors")
    (tmp_path / "empty").mkdir()
    cases = [
        (path, None, CheckpointError, "cannot be read"),
        (tmp_path / "other.safetensors", None, CheckpointError, "no LayerFlow tensors"),
        (tmp_path / "block.safetensors", None, CheckpointError, r"layers\.1\."),
        (
            tmp_path / "shape.safetensors",
            None,
            CheckpointError,
            r"time_embedding\.linear_1\.bias is \[3\]",
        ),
        (tmp_path / "some.safetensors", None, CheckpointError, "--variant"),
        (tmp_path / "some.safetensors", "gen_rgb", CheckpointError, "does not fit"),
        (tmp_path / "some.safetensors", "gen_rgbx", LayoutError, "unknown layout"),
        (tmp_path / "empty", None, CheckpointError, "mp_rank_00"),
        (tmp_path / "none.pt", None, CheckpointError, "is not there"),
    ]
    for source, variant, error, text in cases:
        with pytest.raises(error, match=text):
            convert_official(source, out / "b.safetensors", Conversion(variant))
    assert not out.exists()


PEAK = """
import resource, sys
from pathlib import Path
import torch, numpy, diffusers.models, peft, transformers
from layerflow_core.official.conversion import convert_official
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert_official(Path(sys.argv[1]), Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_a_file_need_not_fit_into_memory(tmp_path):
    """300 MB in 24 blocks are converted in far less memory than that."""
    from benchmarks.synthetic import write_official

    source = write_official(tmp_path / "official.pt", width=512, blocks=24)
    size = source.stat().st_size / 2**20
    result = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(tmp_path / "b.safetensors")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert size > 250 and float(result.stdout) < 0.45 * size
