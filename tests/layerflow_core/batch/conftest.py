"""Lists of shots on the quick model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerflow_core.batch.running import Batch
from layerflow_core.batch.worker import ModelOptions


@pytest.fixture
def make_batch(tmp_path, quick_checkpoint):
    """Rows, as JSON has them -> a batch of them; fields are defaults of all shots."""

    def make(rows: list[dict], numbers: str = "", **defaults) -> Batch:
        path = tmp_path / "shots.json"
        path.write_text(json.dumps(rows))
        fields = {"model": Path(quick_checkpoint), "task": "generate", "steps": 2, **defaults}
        options = ModelOptions("cpu", threads=1)
        return Batch(path, tmp_path / "out", fields, numbers, options)

    return make
