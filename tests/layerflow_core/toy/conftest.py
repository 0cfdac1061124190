"""A small network of the procedural world, and batches for it."""

import pytest
import torch

from layerflow_core.toy.captions import TOKENS_PER_TEXT
from layerflow_core.toy.curriculum import CURRICULA, SHIPPED
from layerflow_core.toy.scene_batches import SceneBatches
from layerflow_core.toy.scene_module import SceneTrainingModule, network_config


@pytest.fixture
def stage():
    """Of the shipped model's curriculum."""
    return CURRICULA[SHIPPED].stages[0]


@pytest.fixture
def module():
    torch.manual_seed(0)
    return SceneTrainingModule(network_config("unified_rgba", 1, (8, 8, 12)))


@pytest.fixture
def batches(module, stage):
    torch.manual_seed(1)
    return SceneBatches(
        module.layout,
        torch.randn(3, 4, 2, 8, 8, 12).half(),
        torch.arange(9).view(3, 3, 1).expand(-1, -1, TOKENS_PER_TEXT),
        stage,
        0,
    )
