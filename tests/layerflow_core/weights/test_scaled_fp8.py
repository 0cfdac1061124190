import json
from pathlib import Path

import pytest
import torch

from layerflow_core.errors import CheckpointError
from layerflow_core.weights.scaled_fp8 import unscaled
from layerflow_core.weights.tensor_file import MemorySource

PATH = Path("t5.safetensors")
WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 3.0]]).to(torch.float8_e4m3fn)
PLAIN = torch.tensor([1.0, 2.0])


def mark(form: str) -> torch.Tensor:
    return torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)


SCALED = {
    "the old way": {
        "a.weight": WEIGHT,
        "a.scale_weight": torch.tensor(2.0),
        "scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn),
    },
    "the new way": {
        "a.weight": WEIGHT,
        "a.weight_scale": torch.tensor([2.0]),
        "a.input_scale": torch.tensor(9.0),
        "a.comfy_quant": mark("float8_e4m3fn"),
    },
}


@pytest.mark.parametrize("way", SCALED)
def test_scaled_weights_are_read_as_plain_ones(way):
    source = unscaled(MemorySource({**SCALED[way], "b.weight": PLAIN}), PATH)
    assert set(source.specs) == {"a.weight", "b.weight"}
    assert source.specs["a.weight"].dtype == torch.bfloat16
    read = source.read(["a.weight", "b.weight"])
    assert torch.equal(read["a.weight"].float(), 2 * WEIGHT.float())
    assert read["a.weight"].dtype == torch.bfloat16 and torch.equal(read["b.weight"], PLAIN)


def test_plain_weights_are_left_alone():
    source = MemorySource({"a.weight": WEIGHT, "b.weight": PLAIN})
    assert unscaled(source, PATH) is source


@pytest.mark.parametrize(
    "extra, message",
    [
        ({"a.comfy_quant": mark("nvfp4")}, "nvfp4, expected plain weights or float8"),
        ({"a.comfy_quant": torch.zeros(5000, dtype=torch.uint8)}, "expected a few bytes of JSON"),
        ({"a.comfy_quant": torch.zeros(3, dtype=torch.uint8)}, "comfy_quant"),
        ({"a.weight_scale": torch.ones(2)}, r"has shape \[2\], expected one scale"),
        ({"gone.scale_weight": torch.ones(1)}, "scale for gone.weight, which is not there"),
    ],
)
def test_another_quantisation_is_named(extra, message):
    with pytest.raises(CheckpointError, match=message):
        unscaled(MemorySource({"a.weight": WEIGHT, **extra}), PATH)
