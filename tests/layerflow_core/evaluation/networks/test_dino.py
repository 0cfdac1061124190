import pytest
import torch
import torch.nn.functional as F

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.dino import DinoImages, DinoSize, build, to_authors_name
from layerflow_core.evaluation.networks.preprocessing import dino_frames

from .vision import attend, linear, norm, random_state

CPU = torch.device("cpu")
TINY = DinoSize(width=12, layers=2, heads=2)
_BLOCK = {
    "norm1.weight": (12,),
    "norm1.bias": (12,),
    "attn.qkv.weight": (36, 12),
    "attn.qkv.bias": (36,),
    "attn.proj.weight": (12, 12),
    "attn.proj.bias": (12,),
    "norm2.weight": (12,),
    "norm2.bias": (12,),
    "mlp.fc1.weight": (48, 12),
    "mlp.fc1.bias": (48,),
    "mlp.fc2.weight": (12, 48),
    "mlp.fc2.bias": (12,),
}
STATE = random_state(
    {
        "cls_token": (1, 1, 12),
        "pos_embed": (1, 197, 12),
        "patch_embed.proj.weight": (12, 3, 16, 16),
        "patch_embed.proj.bias": (12,),
        "norm.weight": (12,),
        "norm.bias": (12,),
        **{f"blocks.{n}.{part}": shape for n in range(2) for part, shape in _BLOCK.items()},
    }
)


def expected(pixels: torch.Tensor) -> torch.Tensor:
    weights = STATE["patch_embed.proj.weight"], STATE["patch_embed.proj.bias"]
    patches = F.conv2d(pixels, *weights, stride=16)
    rows, columns = patches.shape[2:]
    grid = STATE["pos_embed"][:, 1:].view(1, 14, 14, 12).permute(0, 3, 1, 2)
    if (rows, columns) != (14, 14):
        scale = ((rows + 0.1) / 14, (columns + 0.1) / 14)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    patches = (patches + grid).flatten(2).transpose(1, 2)
    start = (STATE["cls_token"] + STATE["pos_embed"][:, :1]).expand(len(pixels), -1, -1)
    x = torch.cat([start, patches], 1)
    for number in range(2):
        name = f"blocks.{number}"
        joined = STATE[f"{name}.attn.qkv.weight"], STATE[f"{name}.attn.qkv.bias"]
        inside = attend(norm(x, STATE, f"{name}.norm1", 1e-6), *joined, 2)
        x = x + linear(inside, STATE, f"{name}.attn.proj")
        hidden = linear(norm(x, STATE, f"{name}.norm2", 1e-6), STATE, f"{name}.mlp.fc1")
        x = x + linear(F.gelu(hidden), STATE, f"{name}.mlp.fc2")
    return F.normalize(norm(x[:, 0], STATE, "norm", 1e-6), dim=1)


def test_parameters_are_as_many_as_in_the_public_file():
    network = build(DinoSize(), 224, 224)
    assert sum(parameter.numel() for parameter in network.parameters()) == 85_798_656


@pytest.mark.parametrize("size", [(224, 224), (480, 720), (250, 300)], ids=str)
def test_images_of_any_aspect_are_seen_as_the_authors_do(tmp_path, size):
    torch.save(STATE, tmp_path / "dino_vitbase16_pretrain.pth")
    frames = (torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 255).round()
    features = DinoImages(tmp_path, CPU, TINY).encode(frames)
    assert torch.allclose(features, expected(dino_frames(frames)), atol=1e-5)


@pytest.mark.parametrize(
    "key, name",
    [
        ("embeddings.position_embeddings", "pos_embed"),
        ("vit.encoder.layer.3.attention.attention.query.bias", "blocks.3.attn.q.bias"),
        ("encoder.layer.3.attention.output.dense.weight", "blocks.3.attn.proj.weight"),
        ("encoder.layer.3.output.dense.weight", "blocks.3.mlp.fc2.weight"),
        ("layers.3.attention.v_proj.weight", "blocks.3.attn.v.weight"),
        ("layers.3.layernorm_after.bias", "blocks.3.norm2.bias"),
        ("blocks.3.attn.qkv.weight", "blocks.3.attn.qkv.weight"),
    ],
)
def test_names_of_every_version_of_transformers(key, name):
    assert to_authors_name(key) == name


def test_another_network_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "dino_vitbase16_pretrain.pth")
    with pytest.raises(EvaluationError, match="another network.*without cls_token"):
        DinoImages(tmp_path, CPU, TINY)
