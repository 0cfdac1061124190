import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

PACK = Path(__file__).parents[2]
IDS = {
    "LoadLayerFlow",
    "LayerPrompts",
    "LayerSampler",
    "DecomposeVideo",
    "ConditionLayer",
    "CompositeRGBA",
    "LayerFlowSampleClip",
    "LayerFlowLoRA",
    "LayerFlowSpeed",
    "CollectLayerClip",
    "DownloadLayerFlow",
    "PreviewLayers",
    "SaveLayers",
    "LoadLayers",
    "LayerResidual",
    "TransformLayer",
    "RefineAlpha",
    "JoinLayers",
    "SplitLayers",
}
CATEGORIES = {f"LayerFlow/{name}" for name in ("model", "sample", "layers", "files", "training")}
SEARCHES = {
    "matte": "DecomposeVideo",
    "transparent": "SaveLayers",
    "rgba": "LayerSampler",
    "prores": "SaveLayers",
    "exr": "LoadLayers",
    "foreground": "LayerPrompts",
    "green screen": "RefineAlpha",
    "remove background": "DecomposeVideo",
    "omnimatte": "DecomposeVideo",
    "layers": "JoinLayers",
    "premultiply": "CompositeRGBA",
    "clean plate": "DecomposeVideo",
}
SAMPLING = {
    "seed": 1,
    "steps": 2,
    "guidance": "model default",
    "scale": 6.0,
    "solver": "model default",
}


def test_ids_are_forever(pack):
    """Saved graphs carry them. New ones need not be listed here."""
    assert IDS <= set(pack.NODE_CLASS_MAPPINGS)
    assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)
    assert all(name.startswith("LayerFlow") for name in pack.NODE_DISPLAY_NAME_MAPPINGS.values())


def test_every_input_and_output_explains_itself(pack):
    for name, cls in pack.NODE_CLASS_MAPPINGS.items():
        assert cls.CATEGORY in CATEGORIES and cls.DESCRIPTION
        inputs = cls.INPUT_TYPES()
        for group in ("required", "optional"):
            for key, (_, *options) in inputs.get(group, {}).items():
                assert options and options[0].get("tooltip"), f"{name}.{key} has no tooltip"
        assert len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES) == len(cls.OUTPUT_TOOLTIPS), name


@pytest.mark.parametrize("words, name", SEARCHES.items())
def test_a_node_is_found_by_what_people_call_its_job(pack, words, name):
    cls = pack.NODE_CLASS_MAPPINGS[name]
    texts = [cls.__name__, cls.DISPLAY_NAME, *cls.SEARCH_ALIASES]
    assert any(words in text.lower() for text in texts)


def test_every_node_has_its_help_page_and_image(pack):
    pages = PACK / "web" / "docs"
    for name in pack.NODE_CLASS_MAPPINGS:
        page = pages / f"{name}.md"
        text = page.read_text()
        assert f"]({name}.webp)" in text
        inputs = pack.NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
        explained = set(re.findall(r"\w+", text))
        unexplained = {*inputs["required"], *inputs.get("optional", {})} - explained
        assert not unexplained, f"{page.name} does not say what {sorted(unexplained)} are"
        with Image.open(page.with_suffix(".webp")) as image:
            image.load()
            assert len(set(image.convert("L").tobytes())) > 16, f"{name}.webp shows nothing"
    assert {page.stem for page in pages.glob("*.md")} == set(pack.NODE_CLASS_MAPPINGS)


def test_import_is_light():
    """ComfyUI has torch already; nothing else that is heavy may load with the pack."""
    code = f"""
import importlib.util, sys, types, torch, time
paths = types.ModuleType("folder_paths"); paths.models_dir, paths.folder_names_and_paths = "/m", {{}}
sys.modules["folder_paths"] = paths
folders = [{str(PACK)!r}]
spec = importlib.util.spec_from_file_location("p", folders[0] + "/__init__.py", submodule_search_locations=folders)
module = importlib.util.module_from_spec(spec); sys.modules["p"] = module
spec.loader.exec_module(module)
print([n for n in ("diffusers", "transformers", "peft", "tokenizers", "av") if n in sys.modules])
print(sorted(paths.folder_names_and_paths))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert result == ["[]", "['layerflow']"]


def test_alpha_and_transparency_cannot_be_mistaken(clip):
    foreground, alpha, background, blended, rgba, transparency, fps, *_ = clip
    assert (
        foreground.shape == (16, 64, 96, 3)
        and alpha.shape == (16, 64, 96)
        and rgba.shape == (16, 64, 96, 4)
    )
    assert torch.equal(transparency, 1 - alpha) and torch.equal(rgba[..., 3], alpha)
    a = alpha[..., None]
    assert torch.allclose(foreground * a + background * (1 - a), blended, atol=1e-6)
    assert fps == 8.0


def test_composite_takes_every_polarity_and_channel_count(call, clip):
    foreground, alpha, background, blended, rgba, transparency, *_ = clip
    for inputs in (
        {"foreground": foreground, "alpha": alpha},
        {
            "foreground": foreground,
            "alpha": transparency,
            "alpha_is": "transparency (1 = transparent)",
        },
        {"foreground": rgba},
        {"foreground": foreground * alpha[..., None], "alpha": alpha, "colour": "premultiplied"},
    ):
        (result,) = call("CompositeRGBA", background=background, **inputs)
        assert (result - blended).abs().max() <= 1e-6


def test_sampler_outputs_fit_comfyui(call, model, clip):
    prompts = call("LayerPrompts")[0]
    foreground, alpha, background, blended, rgba, transparency, fps, layers = call(
        "LayerSampler", model=model, prompts=prompts, **SAMPLING
    )
    assert foreground.shape == background.shape == blended.shape == (16, 64, 96, 3)
    assert torch.equal(rgba[..., 3], alpha) and torch.equal(transparency, 1 - alpha)
    assert all(
        t.dtype == torch.float32 and t.is_contiguous()
        for t in (foreground, alpha, background, blended, rgba)
    )


GIVEN = [["foreground"], ["background"], ["blended"], ["blended", "foreground"]]


@pytest.mark.parametrize("layers", GIVEN, ids=" and ".join)
def test_given_layers_come_back(call, model, clip, layers):
    """Of a unified checkpoint any; several by chained nodes."""
    places = {"foreground": 0, "background": 2, "blended": 3}
    given = ()
    for layer in layers:
        alpha = clip[1] if layer == "foreground" else None
        images = clip[places[layer]]
        (given,) = call("ConditionLayer", images=images, layer=layer, alpha=alpha, given=given)
    result = call("LayerSampler", model=model, prompts=clip[7], given=given, **SAMPLING)
    for layer, place in places.items():
        assert torch.equal(result[place], clip[place]) == (layer in layers)
    assert torch.equal(result[1], clip[1]) == ("foreground" in layers)


def test_a_layer_is_given_by_one_node_only(call, clip):
    (given,) = call("ConditionLayer", images=clip[2], layer="background")
    with pytest.raises(Exception, match="'background' twice"):
        call("ConditionLayer", images=clip[3], layer="background", given=given)


def test_conditions_of_old_graphs_are_as_they_were(pack):
    """Widgets in their order: saved graphs hold values by it. Layers that were there come first."""
    inputs = pack.NODE_CLASS_MAPPINGS["ConditionLayer"].INPUT_TYPES()
    assert list(inputs["required"]) == ["images", "layer", "alpha_is", "fit", "timing"]
    assert inputs["required"]["layer"][0][:2] == ("foreground", "background")
    prompts = pack.NODE_CLASS_MAPPINGS["LayerPrompts"].INPUT_TYPES()["required"]
    assert list(prompts) == ["foreground", "background", "blended"]


def test_condition_takes_rgba_and_transparency(call, clip):
    by_mask = call(
        "ConditionLayer",
        images=clip[0],
        layer="foreground",
        alpha=clip[5],
        alpha_is="transparency (1 = transparent)",
    )[0]
    by_channel = call("ConditionLayer", images=clip[4], layer="foreground")[0]
    assert torch.allclose(by_mask[0].alpha, by_channel[0].alpha, atol=1e-6)


def test_decompose_gives_back_frames_and_size(call, embedded_model, clip):
    video = torch.rand(9, 50, 70, 3)
    answer = call(
        "DecomposeVideo", model=embedded_model, images=video, prompts=clip[7], fps=24.0, **SAMPLING
    )
    assert "is unlike anything" in answer["ui"]["layerflow_warnings"][0]
    result = answer["result"]
    assert torch.equal(result[3], video) and result[6] == 24.0
    assert result[0].shape == (9, 50, 70, 3) and result[1].shape == (9, 50, 70)


def test_progress_and_preview(call, model, host, clip):
    call("LayerSampler", model=model, prompts=clip[7], node_id="3", **SAMPLING)
    assert [(done, total) for done, total, _ in host.progress] == [(340, 1000), (630, 1000)]
    kind, image, size = host.progress[-1][2]
    assert kind == "JPEG" and image.width > image.height and size == 512


def test_cancel_raises_the_hosts_own_exception(call, model, host, clip):
    host.interrupt = True
    with pytest.raises(host.interrupted):
        call("LayerSampler", model=model, prompts=clip[7], **SAMPLING)


def test_same_inputs_same_bits(call, model, clip):
    first, second = (
        call("LayerSampler", model=model, prompts=clip[7], **SAMPLING) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first[:6], second[:6]))


@pytest.mark.parametrize(
    "name, inputs, message",
    [
        (
            "ConditionLayer",
            {
                "images": torch.rand(16, 64, 96, 3),
                "layer": "foreground",
                "alpha": torch.rand(8, 64, 96),
            },
            "16 frames of 96 x 64.*8 frames of 96 x 64",
        ),
        (
            "ConditionLayer",
            {"images": torch.rand(4, 64, 96, 2), "layer": "background"},
            "IMAGE batch",
        ),
        (
            "ConditionLayer",
            {
                "images": torch.rand(4, 8, 8, 3),
                "layer": "foreground",
                "alpha": torch.rand(4, 1, 8, 8),
            },
            "MASK batch",
        ),
        (
            "CompositeRGBA",
            {"foreground": torch.rand(2, 4, 4, 3), "background": torch.rand(2, 4, 4, 3)},
            "no alpha",
        ),
        (
            "CompositeRGBA",
            {"foreground": torch.rand(2, 4, 4, 4), "background": torch.rand(3, 4, 4, 3)},
            "expected equal lengths",
        ),
    ],
)
def test_bad_input(call, name, inputs, message):
    with pytest.raises(Exception, match=message) as caught:
        call(name, **inputs)
    assert type(caught.value).__mro__[1].__name__ == "FrameError"


def test_foreground_without_alpha_is_refused_before_sampling(call, model, clip):
    (given,) = call("ConditionLayer", images=clip[0], layer="foreground")
    with pytest.raises(Exception, match="no alpha.*matte"):
        call("LayerSampler", model=model, prompts=clip[7], given=given, **SAMPLING)


def test_empty_prompts_are_refused(call, model):
    prompts = call("LayerPrompts", foreground="", background=" ", blended="")[0]
    with pytest.raises(Exception, match="no prompts"):
        call("LayerSampler", model=model, prompts=prompts, **SAMPLING)


@pytest.fixture
def collected(call, clip, host):
    """Call CollectLayerClip on the sample clip; the node's answer and the dataset folder."""
    prompts = {f"{layer}_prompt": text for layer, text in clip[7].items()}

    def run(**changes):
        inputs = {
            "foreground": clip[0],
            "alpha": clip[1],
            "background": clip[2],
            "blended": clip[3],
            **prompts,
            "dataset": "set",
            **changes,
        }
        return call("CollectLayerClip", **inputs), host.models.parent / "output" / "set"

    return run


def test_collected_clips_are_a_dataset(collected, clip):
    from layerflow_core.training.data.clip_folder import ClipFolder

    collected(name="ball", fps=23.976)
    answer, dataset = collected(
        name="ball",
        alpha=clip[5],
        alpha_is="transparency (1 = transparent)",
        background=clip[2][:1],
        blended=None,
    )
    assert answer["result"] == (str(dataset / "ball_00002"),) and answer["ui"]["text"] == [
        str(dataset / "ball_00002")
    ]
    first, second = ClipFolder(dataset)
    for name, pixels in (("foreground", clip[0]), ("blended", clip[3])):
        assert torch.allclose(first.layers[name], pixels.permute(0, 3, 1, 2), atol=0.5 / 255 + 1e-6)
    assert torch.equal(first.layers["alpha"], second.layers["alpha"]) and first.fps == Fraction(
        24000, 1001
    )
    assert first.prompts["blended"] == clip[7]["blended"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"alpha": torch.rand(8, 64, 96)}, "layers differ .*alpha 8 frames of 96 x 64"),
        ({"background": torch.rand(16, 32, 32, 3)}, "background 16 frames of 32 x 32"),
        ({"background_prompt": "  "}, "the prompt for background is empty"),
        ({"dataset": "../elsewhere"}, "without path separators"),
        ({"name": "a/b"}, "without path separators"),
        ({"foreground": torch.full((16, 64, 96, 3), float("nan"))}, "NaN"),
    ],
)
def test_broken_clips_are_not_collected(collected, host, changes, message):
    before = sorted(host.models.parent.rglob("*"))
    with pytest.raises(Exception, match=message) as caught:
        collected(**changes)
    assert (
        type(caught.value).__mro__[1].__name__ in ("DatasetError", "FrameError")
        and sorted(host.models.parent.rglob("*")) == before
    )


def test_lora_changes_the_output_and_not_the_model_it_came_from(
    call, model, clip, host, quick_model
):
    from safetensors.torch import save_file

    from layerflow_core.model.lora import add_adapter
    from layerflow_core.model.lora_file import share_weights, write_lora

    network = share_weights(quick_model.network)
    add_adapter(network.backbone, "content", 2)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    write_lora(host.models / "loras" / "trained.safetensors", network, "content")
    (changed,) = call("LayerFlowLoRA", model=model, content="trained.safetensors")
    plain, with_lora = (
        call("LayerSampler", model=m, prompts=clip[7], **SAMPLING)[0] for m in (model, changed)
    )
    assert not torch.allclose(plain, with_lora, atol=0.01)
    assert torch.equal(call("LayerSampler", model=model, prompts=clip[7], **SAMPLING)[0], plain)
    (off,) = call("LayerFlowLoRA", model=model, content="trained.safetensors", content_strength=0.0)
    assert torch.allclose(
        call("LayerSampler", model=off, prompts=clip[7], **SAMPLING)[0], plain, atol=1e-5
    )
    assert call("LayerFlowLoRA", model=model)[0] is model
    width = quick_model.config.network.hidden_size
    pair = {
        f"transformer.transformer_blocks.0.attn1.to_v.lora_{m}.weight": torch.randn(s)
        for m, s in (("A", (2, width)), ("B", (width, 2)))
    }
    save_file(pair, host.models / "loras" / "plain.safetensors")
    (plain_too,) = call(
        "LayerFlowLoRA", model=changed, content="none", cogvideox="plain.safetensors"
    )
    assert not torch.allclose(
        call("LayerSampler", model=plain_too, prompts=clip[7], **SAMPLING)[0], with_lora, atol=0.01
    )


def test_speed_leaves_the_model_that_came_in_alone(call, embedded_model, clip):
    (same,), (other,) = (
        call("LayerFlowSpeed", model=embedded_model),
        call("LayerFlowSpeed", model=embedded_model, step_cache=0.5, guidance_margin=0.1),
    )
    settings = {**SAMPLING, "steps": 4}
    plain, equal, close = (
        call("LayerSampler", model=m, prompts=clip[7], **settings)[3]
        for m in (embedded_model, same, other)
    )
    assert torch.equal(plain, equal) and not torch.equal(plain, close)
    assert other.config == embedded_model.config and not embedded_model.sampler_overrides
    assert torch.equal(
        call("LayerSampler", model=embedded_model, prompts=clip[7], **settings)[3], plain
    )
