"""The whole mathematics against recorded outputs of the official code."""

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from layerflow_core.errors import CheckpointError
from layerflow_core.official.verification import GOLDEN, verify_folder

# A larger set of the same format, where one lies beside the project or is named.
WHOLE = Path(os.environ.get("LAYERFLOW_GOLDEN", Path(__file__).parents[4] / "shared" / "golden"))
LIMITS = {"x0": 1e-5, "fg": 1e-6, "bl": 1e-6, "alpha": 1e-6}


def check(folder: Path, out: Path) -> None:
    names = set()
    for verdict in verify_folder(folder, out):
        names.add(verdict.fixture)
        recorded = json.loads((folder / f"{verdict.fixture}.json").read_text())
        limit = 1e-5 if recorded.get("kind") == "sampler" else 1e-4
        assert verdict.errors, verdict.fixture
        for group, error in verdict.errors.items():
            assert error <= min(limit, LIMITS.get(group, 1)), f"{verdict.fixture} {group} {error}"
    assert names == {p.stem for p in folder.glob("*.json")}


def test_own_fixtures(tmp_path):
    check(GOLDEN, tmp_path)
    results = load_file(tmp_path / "gen_rgba.safetensors")
    recorded = load_file(GOLDEN / "gen_rgba.safetensors")
    assert {
        k for k in recorded if not k.startswith("in.") and not k.endswith((".x", "noise"))
    } <= set(results)
    assert {f"{i}.{k}" for i in range(10) for k in ("x0", "latents")} <= set(
        load_file(tmp_path / "sampler_10.safetensors")
    )


@pytest.mark.skipif(not WHOLE.is_dir(), reason="the larger set of fixtures is not here")
def test_all_fixtures(tmp_path):
    check(WHOLE, tmp_path)


def test_damage_is_seen(tmp_path):
    """A changed weight must show, or the comparison compares nothing."""
    import shutil

    from safetensors.torch import save_file

    for path in GOLDEN.glob("seg_rgb*"):
        shutil.copy(path, tmp_path)
    weights = load_file(tmp_path / "seg_rgb.ckpt.safetensors")
    table = weights["model.diffusion_model.mixins.pos_embed.pos_embedding"]
    table[:, 460] = table[:, 460].flip(-1)
    save_file(weights, tmp_path / "seg_rgb.ckpt.safetensors")
    (verdict,) = verify_folder(tmp_path)
    assert verdict.errors["v_cond"] > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("probes"),
        lambda data: data.update(probes=[{"timestep": 10**9}]),
        lambda data: data.update(sequence={"condition_frames": "all"}),
        lambda data: data.update(network={"latent_height": 1e30}),
        lambda data: data.update(kind="sampler"),
        lambda data: data.update(kind=["x"]),
        lambda data: data["sampling"].update(num_steps=10**12),
    ],
)
def test_a_damaged_description_is_named(change, tmp_path):
    import shutil

    for path in GOLDEN.glob("gen_rgba*"):
        shutil.copy(path, tmp_path)
    data = json.loads((tmp_path / "gen_rgba.json").read_text())
    change(data)
    (tmp_path / "gen_rgba.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="gen_rgba.json"):
        list(verify_folder(tmp_path))


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no fixtures"):
        list(verify_folder(tmp_path))
