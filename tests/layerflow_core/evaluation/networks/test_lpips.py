import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.files import ALEXNET
from layerflow_core.evaluation.networks.lpips import PerceptualDistance

PARAMETERS = 2_469_696
"""Of AlexNet's five convolutions, which alone are looked at."""


@pytest.fixture
def alexnet(tmp_path):
    """Random weights in a file as torchvision has it."""
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    path = tmp_path / ALEXNET.names[0].replace("*", "0")
    features = models.alexnet(weights=None).features.state_dict()
    torch.save({f"features.{key}": value for key, value in features.items()}, path)
    return path


def test_the_package_looks_with_the_files_weights(alexnet):
    lpips = pytest.importorskip("lpips")
    distance = PerceptualDistance(alexnet.parent, torch.device("cpu"))
    assert sum(p.numel() for p in distance._network.net.parameters()) == PARAMETERS
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(1, 3, 64, 96, generator=generator) for _ in range(2))
    assert distance.map(a, a).abs().max() == 0
    values = distance.map(a, b)
    assert values.shape == (1, 1, 64, 96)
    # The package's own way, filled by its own loader.
    own = lpips.LPIPS(net="alex", pnet_rand=True, spatial=True, verbose=False)
    state = torch.load(alexnet)
    named = {key: state[f"features.{key.split('.', 1)[1]}"] for key in own.net.state_dict()}
    own.net.load_state_dict(named)
    assert torch.allclose(values, own(a, b, normalize=True))


def test_another_file_is_refused(tmp_path):
    pytest.importorskip("lpips")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "alexnet-owt-0.pth")
    with pytest.raises(EvaluationError, match="another network"):
        PerceptualDistance(tmp_path, torch.device("cpu"))
