"""One server per ComfyUI checkout for the whole session."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from .comfy_server import PACK, Server, checkouts, start

FOUND = checkouts()
GRAPHS = sorted(p.stem for p in (PACK / "workflows" / "api").glob("*.json"))


def pytest_generate_tests(metafunc):
    if "checkout" in metafunc.fixturenames:
        metafunc.parametrize(
            "checkout",
            FOUND or [None],
            ids=[p.name for p in FOUND] or ["no-checkout"],
            scope="session",
        )


@pytest.fixture(scope="session")
def server(checkout, tmp_path_factory) -> Server:
    if checkout is None:
        message = "NO COMFYUI CHECKOUT FOUND: end-to-end tests are skipped. Set COMFYUI_DIR to a checkout to run them."
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    running = start(checkout, tmp_path_factory.mktemp(checkout.name.replace(".", "_")))
    yield running
    running.process.terminate()
    running.process.wait(30)


def load_graph(name: str) -> dict:
    return json.loads((Path(PACK) / "workflows" / "api" / f"{name}.json").read_text())
