"""Layers without a scene, images that stand for all frames, and masks that LoadImage makes."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.layer_files.saving import FORMATS
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video.streams.encodings import write_h264

LAYERS, RESIDUAL = 7, 8  # outputs of LoadLayers
FOREGROUND, ALPHA, BACKGROUND, BLENDED = range(4)
SCENE = render(draw_scene(3))
WHOLE_SETS = ("OpenEXR (all layers)", "PSD (one frame, all layers)")
OVER_BLACK = "these layers have no background: 'blended' is the foregrounds over black"


@pytest.fixture
def run(call):
    """A node's outputs, and the warnings that go to the browser with them."""

    def run_node(name, /, **inputs):
        answer = call(name, **inputs)
        if not isinstance(answer, dict):
            return answer, ""
        return answer["result"], " ".join(answer["ui"].get("layerflow_warnings", ()))

    return run_node


@pytest.fixture
def folder(host):
    path = host.models.parent / "input"
    path.mkdir(exist_ok=True)
    return path


def write(path: Path) -> None:
    """Frames of a scene as another program would write them."""
    frames = [
        Image.fromarray((frame.permute(1, 2, 0) * 255).byte().numpy()) for frame in SCENE.blended
    ]
    if path.suffix == ".mp4":
        write_h264(path, SCENE.blended, 8)
    elif path.suffix in (".gif", ".webp"):
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=125)
    elif path.suffix:
        frames[0].save(path)
    else:
        path.mkdir()
        for number, frame in enumerate(frames):
            frame.save(path / f"frame_{number}.png")


@pytest.mark.parametrize(
    "name, count",
    [("a.mp4", 16), ("a.gif", 16), ("a.webp", 16), ("a.png", 1), ("a.jpg", 1), ("frames", 16)],
)
def test_any_file_loads_and_is_shown(call, run, folder, name, count):
    write(folder / name)
    outputs, warnings = run("LoadLayers", source=f"{name} [input]")
    assert outputs[FOREGROUND].shape == (count, 64, 96, 3)
    assert torch.equal(outputs[BLENDED], outputs[FOREGROUND])
    assert not outputs[BACKGROUND].any()
    assert OVER_BLACK in warnings
    (shown,) = call("PreviewLayers", layers=outputs[LAYERS])["ui"]["layerflow_preview"]
    assert shown["frames"] == count


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in WHOLE_SETS])
def test_a_foreground_that_was_saved_alone_loads(call, run, clip, form):
    saved = call("SaveLayers", layers=clip[8], format=form, opaque="none", filename_prefix="alone")
    folder = Path(saved["result"][0])
    for name in (
        f"{folder.name} [output]",
        f"{folder.name}/{next(folder.glob('foreground*')).name} [output]",
    ):
        outputs, _ = run("LoadLayers", source=name)
        colour = outputs[FOREGROUND] * outputs[ALPHA][..., None]
        assert torch.allclose(outputs[BLENDED], colour, atol=1e-5), name
        call("PreviewLayers", layers=outputs[LAYERS])


@pytest.fixture
def video_type(monkeypatch):
    """ComfyUI's VIDEO of components, as far as a node makes one."""
    inputs = types.ModuleType("comfy_api.input_impl")
    inputs.VideoFromComponents = lambda components: components
    util = types.ModuleType("comfy_api.util")
    util.VideoComponents = dict
    for module in (types.ModuleType("comfy_api"), inputs, util):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_a_joined_foreground_alone_is_split_saved_and_joined_again(call, run, clip, video_type):
    (alone,) = call("JoinLayers", name="dog", foreground=clip[FOREGROUND], alpha=clip[ALPHA])
    outputs, warnings = run("SplitLayers", layers=alone)
    assert torch.allclose(outputs[BLENDED], clip[FOREGROUND] * clip[ALPHA][..., None])
    assert not outputs[BACKGROUND].any()
    assert OVER_BLACK in warnings
    call("PreviewLayers", layers=alone)
    for form in FORMATS:
        call("SaveLayers", layers=alone, format=form, filename_prefix="joined")
    (two,) = call(
        "JoinLayers", name="cat", foreground=clip[FOREGROUND], alpha=clip[ALPHA], below=alone
    )
    assert len(two.foregrounds) == 2


def test_what_needs_a_background_says_so(call, clip):
    (alone,) = call("JoinLayers", foreground=clip[FOREGROUND], alpha=clip[ALPHA])
    with pytest.raises(
        Exception, match="these layers have no background and no blended scene, expected both"
    ):
        call("LayerResidual", layers=alone)


def empty_mask(value: float) -> torch.Tensor:
    """As LoadImage gives it with an image that has no alpha: 0 is opaque there."""
    return torch.full((1, 64, 64), value)


OPAQUE = {"alpha_is": "transparency (1 = transparent)"}


@pytest.mark.parametrize(
    "node, image",
    [
        ("CompositeRGBA", "foreground"),
        ("JoinLayers", "foreground"),
        ("TransformLayer", "images"),
        ("ConditionLayer", "images"),
    ],
)
def test_one_mask_stands_for_all_frames_everywhere(call, clip, node, image):
    more = {"background": clip[BACKGROUND]} if node == "CompositeRGBA" else {}
    inputs = {image: clip[FOREGROUND], **more}
    one = call(node, **inputs, alpha=clip[ALPHA][:1])
    many = call(node, **inputs, alpha=clip[ALPHA][:1].expand(16, -1, -1))
    for first, second in zip(tensors_of(one), tensors_of(many), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    "node, image",
    [
        ("CompositeRGBA", "foreground"),
        ("JoinLayers", "foreground"),
        ("TransformLayer", "images"),
        ("ConditionLayer", "images"),
    ],
)
def test_load_images_empty_mask_is_named_everywhere(call, run, clip, node, image):
    large = torch.rand(16, 48, 96, 3)
    more = {"background": large} if node == "CompositeRGBA" else {}
    inputs = {image: large, **more}
    answer, warnings = run(node, **inputs, alpha=empty_mask(0), **OPAQUE)
    assert "ComfyUI's LoadImage makes it, in 64 x 64" in warnings
    opaque = call(node, **inputs, alpha=torch.ones(16, 48, 96))
    for first, second in zip(tensors_of(answer), tensors_of(opaque), strict=True):
        assert torch.equal(first, second)
    with pytest.raises(Exception, match="got an empty mask of 1 frame of 64 x 64"):
        call(node, **inputs, alpha=empty_mask(0))


def tensors_of(outputs) -> list[torch.Tensor]:
    """All that a node gave, of whatever kind."""
    found = []
    for output in outputs:
        if isinstance(output, torch.Tensor):
            found.append(output)
        elif isinstance(output, tuple):  # given layers
            found += tensors_of(output)
        elif hasattr(output, "foregrounds"):
            found += [output.foreground, output.alpha]
        elif hasattr(output, "colour"):
            found += [output.colour, output.alpha]
    assert found
    return found


def test_one_image_stands_for_all_frames(call, clip):
    title = clip[FOREGROUND][:1]
    (layers,) = call(
        "JoinLayers", foreground=title, alpha=clip[ALPHA][:1], background=clip[BACKGROUND]
    )
    assert len(layers.foreground) == len(layers.alpha) == 16
    (composite,) = call(
        "CompositeRGBA", foreground=title, alpha=clip[ALPHA], background=clip[BACKGROUND]
    )
    assert composite.shape == clip[BACKGROUND].shape
    moved = call("TransformLayer", images=title, alpha=clip[ALPHA])
    assert len(moved[0]) == 16


def test_pixels_are_not_lost_on_the_way(run, folder):
    array = np.random.default_rng(0).integers(0, 255, (64, 96, 4), dtype=np.uint8)
    Image.fromarray(array).save(folder / "a.png")
    outputs, _ = run("LoadLayers", source="a.png [input]")
    assert torch.equal(
        (outputs[FOREGROUND][0] * 255).round(), torch.from_numpy(array[..., :3]).float()
    )
    assert torch.equal((outputs[ALPHA][0] * 255).round(), torch.from_numpy(array[..., 3]).float())
