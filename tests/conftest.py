"""Fixtures that several rooms share."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
import torch

from .quick_model import write_quick_checkpoint

PACK = Path(__file__).parents[1]
# Tests run side by side, and so do the processes that they start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def embedded():
    """The embedded model, loaded once."""
    from layerflow_core.model.loading import load_model
    from layerflow_core.toy.embedded import EMBEDDED

    return load_model(EMBEDDED)


@pytest.fixture(scope="session")
def quick_checkpoint(tmp_path_factory) -> Path:
    """A small model's file, see ``quick_model``: for what takes a checkpoint by its path."""
    return write_quick_checkpoint(tmp_path_factory.mktemp("quick") / "quick.safetensors")


@pytest.fixture(scope="session")
def quick_model(quick_checkpoint):
    """A small model of random weights, for runs whose image does not matter."""
    from layerflow_core.model.loading import load_model

    return load_model(quick_checkpoint)


@pytest.fixture(scope="session")
def quick():
    """Settings for runs whose image does not matter."""
    from layerflow_core.sampling.sampler import SamplerSettings

    return SamplerSettings(2, "constant", 3.0)


def _save_path(prefix: str, root: str, width: int = 0, height: int = 0) -> tuple:
    """As ComfyUI counts: one more than the largest number there is."""
    folder, name = (Path(root) / prefix).parent, Path(prefix).name
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [
        int(path.stem.removeprefix(f"{name}_").split("_")[0]) for path in folder.glob(f"{name}_*")
    ]
    return str(folder), name, max(numbers, default=0) + 1, str(Path(prefix).parent), prefix


def _model_roots(paths: types.ModuleType, name: str) -> list[Path]:
    """As ComfyUI has them: its own folder, and those of extra_model_paths.yaml."""
    known = paths.folder_names_and_paths.get(name, ([], set()))[0]
    return [Path(root) for root in dict.fromkeys([str(Path(paths.models_dir, name)), *known])]


def _listed_models(paths: types.ModuleType, name: str) -> list[str]:
    files = [
        (root, path)
        for root in _model_roots(paths, name)
        for path in root.rglob("*")
        if not path.is_dir()
    ]
    return sorted(
        {
            str(path.relative_to(root))
            for root, path in files
            if path.suffix in (".safetensors", ".pt")
        }
    )


def _model_path(paths: types.ModuleType, folder: str, name: str) -> str:
    for root in _model_roots(paths, folder):
        if (root / name).is_file():
            return str(root / name)
    raise FileNotFoundError(f"Model in folder '{folder}' with filename '{name}' not found.")


@pytest.fixture(scope="session")
def host(tmp_path_factory) -> types.SimpleNamespace:
    """Stand-ins for the modules of ComfyUI that the nodes use; ``progress`` records, ``interrupt`` cancels."""
    state = types.SimpleNamespace(
        progress=[],
        interrupt=False,
        free=64 * 1024**3,
        models=tmp_path_factory.mktemp("models"),
    )

    class InterruptProcessingException(Exception):  # noqa: N818 - ComfyUI's name
        pass

    class ProgressBar:
        def __init__(self, total, node_id=None):
            self.total = total

        def update_absolute(self, value, total=None, preview=None):
            state.progress.append((value, total, preview))

    class ModelPatcher:
        pass

    def stop_if_interrupted():
        if state.interrupt:
            raise InterruptProcessingException

    management = types.ModuleType("comfy.model_management")
    management.get_torch_device = lambda: torch.device("cpu")
    management.text_encoder_device = management.vae_device = management.get_torch_device
    management.soft_empty_cache = lambda: None
    management.get_free_memory = lambda device=None: state.free
    management.current_loaded_models = []
    management.throw_exception_if_processing_interrupted = stop_if_interrupted
    utils = types.ModuleType("comfy.utils")
    utils.ProgressBar = ProgressBar
    patching = types.ModuleType("comfy.model_patcher")
    patching.ModelPatcher = ModelPatcher
    cli_args = types.ModuleType("comfy.cli_args")
    cli_args.args = state.args = types.SimpleNamespace(disable_metadata=False)
    comfy = types.ModuleType("comfy")
    comfy.model_management, comfy.utils, comfy.model_patcher = management, utils, patching
    comfy.cli_args = cli_args
    paths = types.ModuleType("folder_paths")
    paths.models_dir, paths.folder_names_and_paths = str(state.models), {}
    paths.__file__ = str(state.models.parent / "comfyui" / "folder_paths.py")
    paths.get_filename_list = lambda name: _listed_models(paths, name)
    paths.get_full_path_or_raise = lambda folder, name: _model_path(paths, folder, name)
    paths.get_output_directory = lambda: str(state.models.parent / "output")
    paths.get_input_directory = lambda: str(state.models.parent / "input")
    paths.get_save_image_path = _save_path
    paths.get_temp_directory = lambda: str(state.models.parent / "temp")
    state.interrupted = InterruptProcessingException
    fakes = {
        "comfy": comfy,
        "comfy.model_management": management,
        "comfy.model_patcher": patching,
        "comfy.utils": utils,
        "comfy.cli_args": cli_args,
        "folder_paths": paths,
    }
    sys.modules.update(fakes)
    yield state
    for name in fakes:
        sys.modules.pop(name)


@pytest.fixture(scope="session")
def pack(host):
    """The pack, imported the way ComfyUI does it: from its path, under a name of its own."""
    name = "layerflow_pack_under_test"
    spec = importlib.util.spec_from_file_location(
        name, PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def calm_host(request):
    """No test inherits another one's cancel."""
    if "host" in request.fixturenames or "pack" in request.fixturenames:
        state = request.getfixturevalue("host")
        state.interrupt, state.progress[:] = False, []


def pytest_addoption(parser):
    parser.addoption(
        "--write-locale",
        action="store_true",
        help="write locales/en/nodeDefs.json from the nodes before it is compared",
    )
