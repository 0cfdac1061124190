import mmap

import pytest
import torch

from layerflow_core.weights.stretch import Stretch, read_stretch

NUMBERS = torch.arange(60_000, dtype=torch.float32)


@pytest.mark.parametrize("start", [0, 4, 3, mmap.ALLOCATIONGRANULARITY, 70_001])
@pytest.mark.parametrize("count", [1, 50, 40_000])
def test_a_stretch_is_read_wherever_it_begins(start, count, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * start + NUMBERS.numpy().tobytes())
    with path.open("rb") as file:
        found = read_stretch(file, Stretch(start, count * 4), torch.float32)
    assert torch.equal(found, NUMBERS[:count])
    found += 1
    assert path.read_bytes()[start:] == NUMBERS.numpy().tobytes()


def test_a_stretch_beyond_the_end_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 10)
    with (tmp_path / "file").open("rb") as file, pytest.raises((OSError, ValueError)):
        read_stretch(file, Stretch(0, 10**6))
