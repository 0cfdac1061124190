import pytest
import torch

from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.errors import TrainingError
from layerflow_core.layout import find_layout
from layerflow_core.model.lora import CONTENT, add_adapter
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.training.optimisers import build_optimisers, is_block_matrix
from layerflow_core.training.plan import TrainPlan

muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")


@pytest.fixture
def network():
    return LayerFlowNetwork(
        ModelConfig(
            find_layout("unified_rgba"),
            NetworkConfig(2, 16, 2, 16, 8, 4, 4, 6, 2, tokens_per_text=5),
        )
    )


@muon
def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest(network):
    built = build_optimisers(network.named_parameters(), TrainPlan(1, lr=1e-3, muon_lr=2e-3))
    sizes = {
        type(optimiser).__name__: sum(len(g["params"]) for g in optimiser.param_groups)
        for optimiser in built
    }
    assert sizes["Muon"] == 2 * 6 and sizes["AdamW"] == len(list(network.parameters())) - 2 * 6
    assert sorted(built.values()) == [1e-3, 2e-3]


def test_without_a_matrix_rate_adamw_gets_all(network):
    (optimiser,) = build_optimisers(network.named_parameters(), TrainPlan(1, lr=1e-3))
    assert isinstance(optimiser, torch.optim.AdamW)


def test_no_matrix_of_a_lora_is_a_block_matrix(network):
    add_adapter(network.backbone, CONTENT, 2)
    assert not [
        name for name, _ in network.named_parameters() if ".lora_" in name and is_block_matrix(name)
    ]
    assert any(
        "base_layer" in name for name, _ in network.named_parameters() if is_block_matrix(name)
    )


def test_a_torch_without_muon_is_told(network, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(TrainingError, match="no Muon"):
        build_optimisers(network.named_parameters(), TrainPlan(1, lr=1e-3, muon_lr=2e-3))
