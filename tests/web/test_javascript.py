"""The web part: its pure modules by node's own runner, and all of it by a linter."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACK = HERE.parents[1]
LEAST = 20  # of node: tells modules from scripts by themselves
BIOME = ["--yes", "--prefer-offline", "@biomejs/biome@2.3.8"]  # .ci/run fetches this one before


def node_version() -> int:
    node = shutil.which("node")
    if node is None:
        return 0
    told = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return int(told.lstrip("v").split(".")[0] or 0)


needs_node = pytest.mark.skipif(node_version() < LEAST, reason=f"no node {LEAST} or newer here")


@needs_node
@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_javascript(path):
    done = subprocess.run(["node", "--test", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run_biome(*words: str) -> subprocess.CompletedProcess:
    command = [shutil.which("npx"), *BIOME, *words]
    return subprocess.run(command, cwd=PACK, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def biome():
    """Skips, and says so, where npm cannot fetch it."""
    if shutil.which("npx") is None:
        pytest.skip("no npx here, so no linter for JavaScript")
    try:
        told = run_biome("--version")
    except subprocess.TimeoutExpired:
        pytest.skip("npm fetches no linter for JavaScript within a minute")
    if told.returncode:
        pytest.skip(f"npm fetches no linter for JavaScript: {told.stderr.strip()[-200:]}")
    return run_biome


@needs_node
def test_style(biome):
    done = biome("ci", "--colors=off")
    assert done.returncode == 0, done.stdout + done.stderr
