"""The nodes that show, keep and change layers."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

LAYERS = 8  # LayerFlowSampleClip's output


@pytest.fixture
def layers(call, clip):
    return clip[LAYERS]


def error_name(caught) -> str:
    return type(caught.value).__mro__[1].__name__


def test_preview_writes_every_layer_untouched(call, layers, host):
    (explained, _) = call("LayerResidual", layers=layers)
    answer = call("PreviewLayers", layers=explained)
    assert answer["result"] == (explained,)
    (run,) = answer["ui"]["layerflow_preview"]
    assert (run["width"], run["height"], run["fps"]) == (96, 64, 8.0) and run["frames"] == 16
    assert [layer["kind"] for layer in run["layers"]] == [
        "background",
        "foreground",
        "residual",
        "blended",
    ]
    folder = host.models.parent / "temp" / run["subfolder"]
    assert (folder / run["stream"]).exists()
    atlas = np.asarray(Image.open(folder / "00003.png")).astype(int)
    assert atlas.shape == (5 * 64, 96, 3)

    def row(index):
        return atlas[64 * index : 64 * index + 64]

    by_kind = {layer["kind"]: layer for layer in run["layers"]}
    for kind, image in (
        ("background", layers.background),
        ("foreground", layers.foreground),
        ("blended", layers.blended),
    ):
        assert (
            abs(row(by_kind[kind]["row"]) - 255 * image[3].permute(1, 2, 0).numpy()).max() <= 0.51
        )
    assert (
        abs(row(by_kind["foreground"]["alphaRow"])[..., 0] - 255 * layers.alpha[3, 0].numpy()).max()
        <= 0.51
    )
    assert abs(row(by_kind["residual"]["row"]) - 127.5).max() <= 1


def test_what_the_player_arranged_goes_on_only_when_it_is_baked(call, layers, host):
    arrangement = '[{"name": "background"}, {"name": "foreground", "opacity": 0.5}]'
    as_it_came = call("PreviewLayers", layers=layers, arrangement=arrangement)
    assert as_it_came["result"] == (layers,)
    (baked,) = call("PreviewLayers", layers=layers, bake=True, arrangement=arrangement)["result"]
    assert (baked.alpha - layers.alpha * 0.5).abs().max() == 0
    with pytest.raises(Exception, match="arrangement"):
        call("PreviewLayers", layers=layers, bake=True, arrangement="[1]")


def test_large_layers_are_previewed_small(call, layers, host):
    (run,) = call("PreviewLayers", layers=layers, longest_side=64)["ui"]["layerflow_preview"]
    assert (run["width"], run["height"]) == (64, 43)
    json.dumps(run)


def test_saved_layers_come_back(call, layers, host):
    (explained, residual) = call("LayerResidual", layers=layers)
    prompt, workflow = {"1": {"class_type": "SaveLayers"}}, {"workflow": {"nodes": []}}
    answers = [
        call(
            "SaveLayers",
            layers=explained,
            filename_prefix="sets/a",
            format="OpenEXR (all layers)",
            prompt=prompt,
            extra_pnginfo=workflow,
        )
        for _ in range(2)
    ]
    folders = [Path(answer["result"][0]) for answer in answers]
    assert [folder.name for folder in folders] == ["a_00001", "a_00002"], "never overwritten"
    record = json.loads((folders[0] / "layers.json").read_text())
    assert record["prompt"] == prompt and record["workflow"] == workflow["workflow"]
    source = "sets/a_00001 [output]"
    back = call("LoadLayers", source=source)
    assert (
        torch.allclose(back[0], explained.foreground.permute(0, 2, 3, 1), atol=5e-4)
        and back[6] == 8.0
    )
    assert torch.allclose(back[8], residual, atol=5e-4) and back[7].residual is not None


def test_saved_sets_are_listed(call, layers, pack):
    call("SaveLayers", layers=layers, filename_prefix="listed", format="PNG 8 bit", opaque="none")
    names = pack.NODE_CLASS_MAPPINGS["LoadLayers"].INPUT_TYPES()["required"]["source"][0]
    assert "listed_00001 [output]" in names and not any(
        "00000.png" in name and "listed" in name for name in names
    )


@pytest.mark.parametrize("prefix", ["../x", "/tmp/x", "a/../../x", "", "..\\x"])
def test_nothing_is_saved_outside_of_the_output_folder(call, layers, prefix, host):
    before = sorted(host.models.parent.rglob("*"))
    with pytest.raises(Exception, match="within ComfyUI's output folder") as caught:
        call("SaveLayers", layers=layers, filename_prefix=prefix)
    assert (
        error_name(caught) == "VideoFileError" and sorted(host.models.parent.rglob("*")) == before
    )


@pytest.mark.parametrize(
    "source", ["../secret.png [output]", "none", "gone.mov [input]", "x [nowhere]"]
)
def test_nothing_is_loaded_from_elsewhere(call, source, host):
    (host.models.parent / "secret.png").write_bytes(b"")
    with pytest.raises(Exception, match="is not there") as caught:
        call("LoadLayers", source=source)
    assert error_name(caught) == "VideoFileError"


def test_composite_with_residual_is_the_blended_scene(call, clip, layers):
    shadowed = layers.__class__(layers.foregrounds, layers.background, layers.blended * 0.7, 8.0)
    (_, residual) = call("LayerResidual", layers=shadowed)
    inputs = {"foreground": clip[4], "background": clip[2], "residual": residual}
    (exact,) = call("CompositeRGBA", **inputs)
    assert (exact - 0.7 * clip[3]).abs().max() < 1e-6
    (half,) = call("CompositeRGBA", **inputs, residual_scale=0.5)
    (none,) = call("CompositeRGBA", foreground=clip[4], background=clip[2])
    assert torch.allclose(half, (exact + none) / 2, atol=1e-6)
    (moved,) = call("CompositeRGBA", **inputs, x=7)
    (stays,) = call("CompositeRGBA", **inputs, x=7, residual_follows=False)
    assert torch.allclose(moved[:, :, :7], clip[2][:, :, :7], atol=1e-6) and not torch.allclose(
        stays[:, :, :7], clip[2][:, :, :7], atol=1e-3
    )
    with pytest.raises(Exception, match="residual of 3 frames") as caught:
        call("CompositeRGBA", **{**inputs, "residual": residual[:3]})
    assert error_name(caught) == "FrameError"


def test_a_stack_of_foregrounds(call, clip):
    other = call("LayerFlowSampleClip", seed=11)
    (below,) = call("JoinLayers", foreground=clip[4], background=clip[2], blended=clip[3])
    (stack,) = call(
        "JoinLayers",
        foreground=other[0],
        alpha=other[5],
        alpha_is="transparency (1 = transparent)",
        below=below,
    )
    assert [layer.name for layer in stack.foregrounds] == ["foreground", "foreground2"]
    (expected,) = call("CompositeRGBA", foreground=clip[4], background=clip[2])
    (expected,) = call("CompositeRGBA", foreground=other[4], background=expected)
    (above,) = call("JoinLayers", foreground=other[4])
    (met,) = call("CompositeRGBA", foreground=clip[4], background=clip[2], above=above)
    assert torch.allclose(met, expected, atol=1e-6)
    assert torch.allclose(stack.recompose().permute(0, 2, 3, 1), expected, atol=1e-6)
    with pytest.raises(Exception, match="different frames"):
        call("JoinLayers", foreground=clip[4][:3], below=below)
    with pytest.raises(Exception, match="exactly one"):
        call("JoinLayers", below=below)


def test_transform_moves_back_and_forth(call, clip):
    images, alpha, rgba = call("TransformLayer", images=clip[0], alpha=clip[1], x=6, y=-4)
    again = call("TransformLayer", images=rgba, x=-6, y=4)
    inside = (slice(None), slice(8, -8), slice(8, -8))
    assert torch.equal(again[1][inside], clip[1][inside])
    reverse = call("TransformLayer", images=clip[0], alpha=clip[1], reverse=True)
    assert torch.equal(reverse[1], clip[1].flip(0))
    plain = call("TransformLayer", images=clip[2], x=5)
    assert (
        plain[0][:, :, :5].abs().max() == 0
        and torch.equal(plain[0][:, :, 5:], clip[2][:, :, :-5])
        and plain[1].min() == 1
    )


def test_refine_needs_alpha(call, clip):
    images, alpha, _ = call("RefineAlpha", images=clip[0], alpha=clip[1], choke=1)
    assert alpha.sum() < clip[1].sum() and torch.equal(images, clip[0])
    with pytest.raises(Exception, match="no alpha") as caught:
        call("RefineAlpha", images=clip[0])
    assert error_name(caught) == "FrameError"


def test_bad_frames_of_a_split(call, layers):
    for inputs, message in (({"foreground": 2}, "foreground 2"), ({"frame": 16}, "0 to 15")):
        with pytest.raises(Exception, match=message):
            call("SplitLayers", layers=layers, **inputs)


@pytest.mark.parametrize(
    "form",
    ["ProRes 4444 (.mov)", "PNG 8 bit", "animated WebP", "animated PNG", "OpenEXR (all layers)"],
)
def test_no_file_carries_the_graph_where_metadata_is_off(call, layers, host, monkeypatch, form):
    graph = {
        "prompt": {"1": {"class_type": "SECRET"}},
        "extra_pnginfo": {"workflow": {"nodes": ["SECRET"]}},
    }
    (folder,) = call(
        "SaveLayers", layers=layers, filename_prefix="metadata/on", format=form, **graph
    )["result"]
    assert any(b"SECRET" in path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())
    monkeypatch.setattr(host.args, "disable_metadata", True)
    (folder,) = call(
        "SaveLayers", layers=layers, filename_prefix="metadata/off", format=form, **graph
    )["result"]
    assert not any(
        b"SECRET" in path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    ("prefix", "start"),
    [
        ("%date:yyyy-MM-dd%/x", "%Y-%m-%d/x_"),
        ("shots/%date:yyMMdd%_x", "shots/%y%m%d_x_"),
        ("a/%date%", "a/%Y%m%d"),
        ("a\\b", "a/b_"),
        ("a//b ", "a/b_"),
        ("e\u0301/x", "\u00e9/x_"),
    ],
)
def test_dates_of_a_prefix_are_replaced_without_a_browser_too(call, layers, prefix, start):
    (folder,) = call(
        "SaveLayers", layers=layers, filename_prefix=prefix, format="PNG 8 bit", opaque="none"
    )["result"]
    assert time.strftime(start) in Path(folder).as_posix()


@pytest.mark.parametrize(
    "prefix", ["a:b/c", "C:/x", "a\0b", "x/" + "y" * 300, "con/x", "...", "a/ /b", "<x>"]
)
def test_a_prefix_that_no_folder_can_have_is_refused(call, layers, prefix, host):
    before = sorted(host.models.parent.rglob("*"))
    with pytest.raises(Exception, match="filename prefix: got") as caught:
        call("SaveLayers", layers=layers, filename_prefix=prefix)
    assert error_name(caught) == "VideoFileError"
    assert sorted(host.models.parent.rglob("*")) == before
