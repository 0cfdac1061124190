import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.aesthetic import AestheticHead


def test_a_tenth_of_a_linear_layer(tmp_path):
    layer = torch.nn.Linear(768, 1)
    torch.save(layer.state_dict(), tmp_path / "sa_0_4_vit_l_14_linear.pth")
    features = torch.randn(5, 768)
    scores = AestheticHead(tmp_path).score(features)
    assert torch.allclose(scores, layer(features)[:, 0] / 10, atol=1e-6)


def test_another_layer_is_refused(tmp_path):
    torch.save(torch.nn.Linear(512, 1).state_dict(), tmp_path / "sa_0_4_vit_l_14_linear.pth")
    with pytest.raises(EvaluationError, match="another network"):
        AestheticHead(tmp_path)
