import pytest
import torch
import torch.nn.functional as F

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.clip import B32, L14, ClipImages, ClipSize, build
from layerflow_core.evaluation.networks.files import CLIP_B32
from layerflow_core.evaluation.networks.preprocessing import clip_frames

from .vision import clip_block, clip_shapes, norm, random_state

CPU = torch.device("cpu")
TINY = ClipSize(CLIP_B32, width=16, layers=2, heads=2, patch=32, features=6)
SHAPES = {
    "visual.class_embedding": (16,),
    "visual.conv1.weight": (16, 3, 32, 32),
    "visual.positional_embedding": (50, 16),
    "visual.ln_pre.weight": (16,),
    "visual.ln_pre.bias": (16,),
    "visual.ln_post.weight": (16,),
    "visual.ln_post.bias": (16,),
    "visual.proj": (16, 6),
    **clip_shapes("visual.transformer.resblocks.", 16, 2),
}
STATE = random_state(SHAPES)
FRAMES = (torch.rand(3, 3, 240, 300, generator=torch.Generator().manual_seed(1)) * 255).round()


def expected() -> torch.Tensor:
    patches = F.conv2d(clip_frames(FRAMES), STATE["visual.conv1.weight"], stride=32)
    start = STATE["visual.class_embedding"].expand(3, 1, -1)
    x = torch.cat([start, patches.flatten(2).transpose(1, 2)], 1)
    x = norm(x + STATE["visual.positional_embedding"], STATE, "visual.ln_pre")
    for number in range(2):
        x = clip_block(x, STATE, f"visual.transformer.resblocks.{number}", 2)
    return F.normalize(norm(x[:, 0], STATE, "visual.ln_post") @ STATE["visual.proj"], dim=1)


@pytest.mark.parametrize("size, count", [(L14, 303_966_208), (B32, 87_849_216)], ids=["L", "B"])
def test_parameters_are_as_many_as_in_the_public_files(size, count):
    assert sum(parameter.numel() for parameter in build(size).parameters()) == count


def test_the_authors_names_and_those_of_transformers_are_read(tmp_path):
    torch.save(STATE, tmp_path / "ViT-B-32.pt")
    network = ClipImages(TINY, tmp_path, CPU)
    features = network.encode(FRAMES)
    assert torch.allclose(features, expected(), atol=1e-5)
    (tmp_path / "ViT-B-32.pt").unlink()
    torch.save(network._network.state_dict(), tmp_path / "ViT-B-32.pt")
    assert torch.allclose(ClipImages(TINY, tmp_path, CPU).encode(FRAMES), features)


def test_another_network_is_refused(tmp_path):
    torch.save({**STATE, "visual.proj": torch.zeros(16, 7)}, tmp_path / "ViT-B-32.pt")
    with pytest.raises(EvaluationError, match="another network: got visual_projection.weight"):
        ClipImages(TINY, tmp_path, CPU)
