import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.config import NetworkConfig
from layerflow_core.errors import CheckpointError
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.lora import adapter_names, set_strengths
from layerflow_core.model.lora_file import attach_lora, read_lora, write_lora
from layerflow_core.weights.tensor_file import read_tensors


@pytest.fixture
def trained(make_network, tmp_path):
    """A network with both LoRA, and the two files."""
    network = make_network("unified_rgba", content=3, motion=2)
    for name in ("content", "motion"):
        write_lora(tmp_path / f"{name}.safetensors", network, name)
    return network, tmp_path


@pytest.mark.parametrize("content, motion", [(1.0, 0.0), (0.5, 0.0), (1.0, 1.0), (0.0, 0.0)])
def test_a_base_with_the_files_equals_the_network_they_came_from(
    trained, make_network, inputs_for, content, motion
):
    network, folder = trained
    base = make_network("unified_rgba")
    base.load_state_dict(
        {
            k.replace(".base_layer.", "."): v
            for k, v in network.state_dict().items()
            if ".lora_" not in k
        }
    )
    before = {k: v.clone() for k, v in base.state_dict().items()}
    model = LayerFlowModel(base.config, base)
    attached = attach_lora(
        model, [folder / "content.safetensors", folder / "motion.safetensors"], content, motion
    )
    set_strengths(network.backbone, {"content": content, "motion": motion})
    inputs = inputs_for(network)
    with torch.no_grad():
        assert torch.allclose(attached.network(*inputs), network(*inputs), atol=1e-5)
    assert not adapter_names(base.backbone) and all(
        torch.equal(v, before[k]) for k, v in base.state_dict().items()
    )
    weight = "patch_embed.proj.weight"
    assert attached.network.backbone.get_parameter(weight) is base.backbone.get_parameter(
        weight
    )  # shared, not copied


def test_untouched_projections_are_left_out(trained, tmp_path):
    network, _ = trained
    for name, parameter in network.named_parameters():
        if "lora_B.content" in name and "blocks.0." in name:
            parameter.data.zero_()
    write_lora(tmp_path / "half.safetensors", network, "content")
    assert all(
        path.startswith("transformer_blocks.1.")
        for path in read_lora(tmp_path / "half.safetensors").paths
    )


def test_misfits_are_named(trained, make_network, tmp_path):
    network, folder = trained
    wide = make_network(
        "unified_rgba", dims=NetworkConfig(2, 32, 2, 16, 8, 4, 4, 6, 2, tokens_per_text=5)
    )
    content = folder / "content.safetensors"
    with pytest.raises(CheckpointError, match="width 32 and 2 blocks, this one has 64 and 2"):
        attach_lora(LayerFlowModel(wide.config, wide), [content])
    with pytest.raises(CheckpointError, match="already has one"):
        attach_lora(LayerFlowModel(network.config, network), [content])
    with pytest.raises(CheckpointError, match="no LoRA of this pack"):
        save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
        read_lora(tmp_path / "x.safetensors")
    tensors, metadata = read_tensors(content)
    save_file(
        {k: v for k, v in tensors.items() if not k.endswith("0.attn1.to_q.up")},
        tmp_path / "cut.safetensors",
        metadata,
    )
    base = make_network("unified_rgba")
    with pytest.raises(
        CheckpointError, match=r"lacks LoRA tensor content\.transformer_blocks\.0\.attn1\.to_q\.up"
    ):
        attach_lora(LayerFlowModel(base.config, base), [tmp_path / "cut.safetensors"])
    with pytest.raises(CheckpointError, match="no trained content LoRA"):
        write_lora(tmp_path / "y.safetensors", make_network("unified_rgba"), "content")
