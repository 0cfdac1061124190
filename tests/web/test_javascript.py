"""The pure modules of the web part, tested by node's own runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LEAST = 20  # of node: tells modules from scripts by themselves


def node_version() -> int:
    node = shutil.which("node")
    if node is None:
        return 0
    told = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return int(told.lstrip("v").split(".")[0] or 0)


@pytest.mark.skipif(node_version() < LEAST, reason=f"no node {LEAST} or newer here")
@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_javascript(path):
    done = subprocess.run(["node", "--test", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
