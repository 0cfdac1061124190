"""Dialects of LoRA keys, DoRA beside PEFT's own, and what is refused or named."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.errors import CheckpointError
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.third_party_lora import add_third_party_lora

PATHS = (
    "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.1.attn1.to_out.0",
    "transformer_blocks.1.ff.net.0.proj",
    "proj_out",
)
RANK = 3
DIALECTS = {
    "kohya": ("lora_unet_{under}.lora_down.weight", "lora_unet_{under}.lora_up.weight"),
    "kohya of VideoX-Fun": (
        "lora_unet__{under}.lora_down.weight",
        "lora_unet__{under}.lora_up.weight",
    ),
    "kohya, transformer": (
        "lora_transformer_{under}.lora_down.weight",
        "lora_transformer_{under}.lora_up.weight",
    ),
    "PEFT within a pipeline": (
        "base_model.model.transformer.{path}.lora_A.default.weight",
        "base_model.model.transformer.{path}.lora_B.default.weight",
    ),
    "ComfyUI's original": (
        "model.diffusion_model.{path}.lora_A.weight",
        "model.diffusion_model.{path}.lora_B.weight",
    ),
    "distributed": (
        "module.transformer.{path}.lora_A.weight",
        "module.transformer.{path}.lora_B.weight",
    ),
    "without weight": ("transformer.{path}.lora_A", "transformer.{path}.lora_B"),
    "LyCORIS": ("lycoris_{under}.lora_down.weight", "lycoris_{under}.lora_up.weight"),
    "compiled": (
        "transformer._orig_mod.{path}.lora_A.weight",
        "transformer._orig_mod.{path}.lora_B.weight",
    ),
    "FSDP": (
        "_fsdp_wrapped_module.{path}.lora_A.weight",
        "_fsdp_wrapped_module.{path}.lora_B.weight",
    ),
    "a pipeline's part": (
        "pipe.transformer.{path}.lora_A.weight",
        "pipe.transformer.{path}.lora_B.weight",
    ),
    "an adapter with a hyphen": ("{path}.lora_A.my-style.weight", "{path}.lora_B.my-style.weight"),
    "old linear layers": (
        "{path}.lora_linear_layer.down.weight",
        "{path}.lora_linear_layer.up.weight",
    ),
    "lora behind an underscore": (
        "transformer.{path}_lora.down.weight",
        "transformer.{path}_lora.up.weight",
    ),
    "with dots": ("transformer.{path}.lora.down.weight", "transformer.{path}.lora.up.weight"),
}


@pytest.fixture
def model(make_network):
    network = make_network("gen_rgba", content=2)
    return LayerFlowModel(network.config, network)


def weight_of(model, path):
    module = model.network.backbone.get_submodule(path)
    return getattr(module, "base_layer", module).weight


@pytest.fixture
def pairs(model):
    generator = torch.Generator().manual_seed(5)
    shapes = {path: weight_of(model, path).shape for path in PATHS}
    return {
        path: (
            torch.randn(RANK, shape[1], generator=generator) * 0.1,
            torch.randn(shape[0], RANK, generator=generator) * 0.1,
        )
        for path, shape in shapes.items()
    }


def named(template: str, path: str) -> str:
    return template.format(path=path, under=path.replace(".", "_"))


def write(folder, pairs, dialect="kohya", more=None, metadata=None):
    down_name, up_name = DIALECTS[dialect]
    tensors = dict(more or {})
    for path, (down, up) in pairs.items():
        tensors[named(down_name, path)] = down
        tensors[named(up_name, path)] = up
    save_file(tensors, folder / "lora.safetensors", metadata)
    return folder / "lora.safetensors"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_changes_the_weights_alike(dialect, model, pairs, tmp_path, caplog):
    changed = add_third_party_lora(model, write(tmp_path, pairs, dialect), 0.5)
    for path, (down, up) in pairs.items():
        assert torch.allclose(
            weight_of(changed, path), weight_of(model, path) + 0.5 * up @ down, atol=1e-6
        )
    assert not caplog.text


def test_kohya_with_alpha_and_pixels(model, pairs, tmp_path):
    more = {f"lora_unet_{path.replace('.', '_')}.alpha": torch.tensor(6.0) for path in pairs}
    pixels = {
        path: (down[:, :, None, None].clone(), up[:, :, None, None].clone())
        for path, (down, up) in pairs.items()
    }
    changed = add_third_party_lora(model, write(tmp_path, pixels, more=more))
    for path, (down, up) in pairs.items():
        assert torch.allclose(
            weight_of(changed, path), weight_of(model, path) + 2 * up @ down, atol=1e-6
        )


def test_processors_of_old_diffusers(model, pairs, tmp_path):
    block = "transformer_blocks.1.attn1"
    down, up = pairs[f"{block}.to_out.0"]
    names = [f"transformer.{block}.processor.to_out_lora.{role}.weight" for role in ("down", "up")]
    save_file(dict(zip(names, (down, up))), tmp_path / "old.safetensors")
    changed = add_third_party_lora(model, tmp_path / "old.safetensors")
    expected = weight_of(model, f"{block}.to_out.0") + up @ down
    assert torch.allclose(weight_of(changed, f"{block}.to_out.0"), expected, atol=1e-6)


@pytest.mark.parametrize(
    "fields, factor",
    [
        ({"transformer.lora_alpha": 6, "transformer.use_rslora": True}, 6 / math.sqrt(RANK)),
        (
            {
                "transformer.lora_alpha": 6,
                "transformer.alpha_pattern": {
                    "attn1.to_q": 9,
                    "proj_out": 9,
                    "net.0.proj": 9,
                    "to_out.0": 9,
                },
            },
            3,
        ),
        ({"transformer.lora_alpha": None}, 1),
    ],
)
def test_metadata_scales(fields, factor, model, pairs, tmp_path):
    path = write(
        tmp_path, pairs, "with dots", metadata={"lora_adapter_metadata": json.dumps(fields)}
    )
    changed = add_third_party_lora(model, path)
    for name, (down, up) in pairs.items():
        assert torch.allclose(
            weight_of(changed, name), weight_of(model, name) + factor * up @ down, atol=1e-5
        )


class Layers(torch.nn.Module):
    """The projections of ``PATHS`` for PEFT."""

    def __init__(self, model):
        super().__init__()
        self.names = {path.replace(".", "_"): path for path in PATHS}
        for name, path in self.names.items():
            weight = weight_of(model, path)
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight.data.copy_(weight)
            setattr(self, name, layer)


@pytest.mark.parametrize(
    "ending",
    [
        ".lora_magnitude_vector",
        ".lora_magnitude_vector.weight",
        ".lora_magnitude_vector.default.weight",
        ".dora_scale",
    ],
)
def test_dora_is_what_peft_computes(ending, model, tmp_path):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(6)
    layers = Layers(model)
    adapted = get_peft_model(
        layers, LoraConfig(r=RANK, lora_alpha=7, use_dora=True, target_modules=list(layers.names))
    )
    tensors = {}
    for name, path in layers.names.items():
        layer = getattr(adapted.base_model.model, name)
        layer.lora_B["default"].weight.data.normal_(std=0.1)
        layer.lora_magnitude_vector["default"].weight.data.mul_(
            torch.rand(layer.out_features) + 0.5
        )
        magnitude = layer.lora_magnitude_vector["default"].weight.data.clone()
        tensors |= {
            f"transformer.{path}.lora_A.weight": layer.lora_A["default"].weight.data.clone(),
            f"transformer.{path}.lora_B.weight": layer.lora_B["default"].weight.data.clone(),
            f"transformer.{path}.alpha": torch.tensor(7.0),
            f"transformer.{path}{ending}": magnitude[:, None]
            if ending == ".dora_scale"
            else magnitude,
        }
    save_file(tensors, tmp_path / "dora.safetensors")
    changed = add_third_party_lora(model, tmp_path / "dora.safetensors")
    half = add_third_party_lora(model, tmp_path / "dora.safetensors", 0.5)
    merged = adapted.merge_and_unload()
    for name, path in layers.names.items():
        expected = getattr(merged, name).weight
        plain = weight_of(model, path)
        assert torch.allclose(weight_of(changed, path), expected, atol=1e-5)
        assert torch.allclose(weight_of(half, path), (expected + plain) / 2, atol=1e-5)
        assert not torch.allclose(expected, plain, atol=1e-2)


@pytest.mark.parametrize(
    "key, kind",
    [
        ("transformer.proj_out.hada_w1_a", "LoHa"),
        ("lora_unet_proj_out.lokr_w1", "LoKr"),
        ("lora_unet_proj_out.oft_blocks", "OFT"),
        ("transformer.proj_out.oft_R.weight", "OFT"),
        ("diffusion_model.proj_out.diff", "whole weights"),
        ("diffusion_model.proj_out.diff_b", "whole weights"),
        ("transformer.proj_out.lora_B.bias", "biases"),
        ("lora_unet_proj_out.lora_mid.weight", "in the middle"),
    ],
)
def test_other_kinds_are_refused_by_name(key, kind, model, pairs, tmp_path):
    with pytest.raises(CheckpointError, match=f"{kind}.*{key.split('.')[-1]}"):
        add_third_party_lora(model, write(tmp_path, pairs, more={key: torch.ones(2, 2)}))


def test_what_is_not_used_is_named(model, pairs, tmp_path, caplog):
    more = {
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(2, 4),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2),
        "lora_unet_nowhere.alpha": torch.ones(()),
        "something.else": torch.ones(1),
    }
    add_third_party_lora(model, write(tmp_path, pairs, more=more))
    for name in (
        "lora_te_text_model_encoder_layers_0_mlp_fc1 is not there",
        "lora_unet_nowhere.alpha",
        "something.else",
        "2 of its tensors are not used",
    ):
        assert name in caplog.text


@pytest.mark.parametrize(
    "more, text",
    [
        ({"lora_unet_proj_out.alpha": torch.ones(2)}, "expected one number"),
        ({"lora_unet_proj_out.alpha": torch.tensor(1e38)}, "expected one number"),
        (
            {"lora_unet_proj_out.alpha": torch.tensor(math.nan)},
            "alpha of proj_out holds values that are no finite numbers",
        ),
        (
            {
                "lora_unet_norm_final.lora_down.weight": torch.full((2, 2), math.inf),
                "lora_unet_norm_final.lora_up.weight": torch.ones(2, 2),
            },
            "down of norm_final holds",
        ),
        ({"lora_unet_proj_out.dora_scale": torch.ones(3)}, "magnitudes of proj_out"),
        ({"transformer.proj_out.lora_A.weight": torch.ones(2, 2)}, "mean the same"),
        (
            {
                "lora_unet_norm_final.lora_down.weight": torch.ones(2, 2),
                "lora_unet_norm_final.lora_up.weight": torch.ones(2, 3),
            },
            "expected .rank, columns",
        ),
    ],
)
def test_damage_is_named(more, text, model, pairs, tmp_path):
    with pytest.raises(CheckpointError, match=text):
        add_third_party_lora(model, write(tmp_path, pairs, more=more))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"transformer.lora_alpha": "much"}',
        '{"transformer.lora_alpha": 1e300}',
        "[" * 100_000,
    ],
)
def test_damaged_metadata_is_refused(text, model, pairs, tmp_path):
    with pytest.raises(CheckpointError, match="lora_adapter_metadata"):
        add_third_party_lora(
            model, write(tmp_path, pairs, metadata={"lora_adapter_metadata": text})
        )
