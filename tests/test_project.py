"""What must hold for the project as a whole."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[1]
CORE = sorted((PACK / "layerflow_core").rglob("*.py"))
# Rooms from the top down; an import points to the same room or to one further down, never up.
ROOMS = (
    "cli",
    "arguments",
    "commands",
    "batch",
    "options",
    "download",
    "check",
    "toy",
    "evaluation",
    "training",
    "inference",
    "official",
    "footage",
    "run_record",
    "pipeline",
    "familiarity",
    "runtime",
    "sampling",
    "model",
    "weights",
    "layer_files",
    "editing",
    "video",
    "layers",
    "matching",
    "rgba",
    "config",
    "layout",
    "plain_data",
    "names",
    "atomic",
    "rates",
    "errors",
)
HOST = {"comfy", "folder_paths", "nodes", "server", "comfy_api"}


def imports_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
        elif isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(PACK)))
def test_the_core_knows_no_host(path):
    assert not [
        name for level, name in imports_of(path) if level == 0 and name.split(".")[0] in HOST
    ]


@pytest.mark.parametrize(
    "path", [p for p in CORE if p.name != "__init__.py"], ids=lambda p: str(p.relative_to(PACK))
)
def test_arrows_go_down_only(path):
    inside = path.relative_to(PACK / "layerflow_core")
    room = inside.parts[0].removesuffix(".py")
    for level, name in imports_of(path):
        if level == len(inside.parts):  # leaves the own room
            assert ROOMS.index(name.split(".")[0]) >= ROOMS.index(room), f"{inside} imports {name}"


MIRRORED = [path for path in CORE if path.name != "__init__.py"]


@pytest.mark.parametrize("path", MIRRORED, ids=lambda p: str(p.relative_to(PACK)))
def test_every_file_of_the_core_has_its_test(path):
    """``layerflow_core/a/b.py`` -> ``tests/layerflow_core/a/test_b.py``."""
    mirror = PACK / "tests" / path.relative_to(PACK).with_name(f"test_{path.name}")
    tests = [line for line in mirror.read_text().splitlines() if line.startswith("def test_")]
    assert tests, f"{mirror} holds no test"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_style(command):
    pytest.importorskip("ruff")
    ruff = [sys.executable, "-m", "ruff", *command, "."]
    result = subprocess.run(ruff, cwd=PACK, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_requirements_agree_and_pin_nothing_that_comfyui_owns():
    listed = (PACK / "requirements.txt").read_text().split()
    project = (PACK / "pyproject.toml").read_text()
    declared = re.search(r"^dependencies = \[(.*?)\]", project, re.S | re.M)[1]
    assert sorted(re.findall(r'"(.+?)"', declared)) == sorted(listed)
    assert {"torch", "numpy", "pillow"} <= set(listed)


def test_ui_and_api_graphs_hold_the_same_nodes():
    for api in (PACK / "workflows" / "api").glob("*.json"):
        ui = json.loads((PACK / "workflows" / api.name).read_text())
        types = sorted(node["class_type"] for node in json.loads(api.read_text()).values())
        assert sorted(node["type"] for node in ui["nodes"]) == types


def test_workflows_is_the_only_template_folder():
    assert [
        n
        for n in ("example_workflows", "example", "examples", "workflow", "workflows")
        if (PACK / n).is_dir()
    ] == ["workflows"]
