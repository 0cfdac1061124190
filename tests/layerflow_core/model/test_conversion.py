import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from layerflow_core.errors import CheckpointError
from layerflow_core.model.checkpoint import write_checkpoint
from layerflow_core.model.conversion import convert_official
from layerflow_core.model.loading import load_model

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
SIZE = {"latent_size": (6, 8), "dtype": torch.float32}


@pytest.fixture
def tensors():
    return load_file(GOLDEN / "gen_rgba.ckpt.safetensors")


def save_deepspeed(folder: Path, tensors, **more) -> Path:
    path = folder / "1000" / "mp_rank_00_model_states.pt"
    path.parent.mkdir(parents=True)
    torch.save({"module": tensors, "iteration": 1000, **more}, path)
    return path


def test_folder_file_and_safetensors_give_the_same(tensors, tmp_path):
    path = save_deepspeed(tmp_path / "official", tensors, np_rng_state=np.random.get_state(), torch_rng_state=torch.get_rng_state())
    save_file(tensors, tmp_path / "plain.safetensors")
    sources = (tmp_path / "official", path, tmp_path / "plain.safetensors")
    first, *others = (convert_official(source, "gen_rgba", **SIZE) for source in sources)
    for other in others:
        assert other.config == first.config
        assert all(torch.equal(other.tensors[k], v) for k, v in first.tensors.items())


def test_converted_file_runs_like_the_original(tensors, tmp_path):
    save_file(tensors, tmp_path / "a.safetensors")
    write_checkpoint(convert_official(tmp_path / "a.safetensors", "gen_rgba", **SIZE), tmp_path / "b.safetensors")
    recorded = load_file(GOLDEN / "gen_rgba.safetensors")
    model = load_model(tmp_path / "b.safetensors")
    with torch.inference_mode():
        v = model.network(recorded["probe.599.x"], recorded["in.context"].flatten(0, 1)[None], torch.tensor([599]))
    assert (v - recorded["probe.599.v_cond"]).abs().max() < 1e-4


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


def test_nothing_in_a_pickle_is_executed(tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save_deepspeed(tmp_path, tensors, args=Malicious())
    with pytest.raises(CheckpointError, match="never done"):
        convert_official(path, "gen_rgba", **SIZE)
    assert not (tmp_path / "owned").exists()


def test_damaged_and_foreign_files(tensors, tmp_path):
    path = save_deepspeed(tmp_path, tensors)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert_official(path, "gen_rgba", **SIZE)
    save_file({"a.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no LayerFlow tensors"):
        convert_official(tmp_path / "other.safetensors", "gen_rgba", **SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="mp_rank_00"):
        convert_official(tmp_path / "empty", "gen_rgba", **SIZE)


def test_unclear_variant_is_asked_for(tmp_path):
    shutil.copy(GOLDEN / "fg2bg_rgba.ckpt.safetensors", tmp_path / "some.safetensors")
    with pytest.raises(CheckpointError, match="--variant"):
        convert_official(tmp_path / "some.safetensors", **SIZE)
