"""Every recipe of ``docs/recipes.md`` on a real server: the nodes it names, with the settings it names."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video.streams.encodings import write_h264, write_prores

from .comfy_server import Server, error_of

SCENE = draw_scene(3)
FRAMES = 16
GREEN = torch.tensor([0.1, 0.8, 0.2]).view(1, 3, 1, 1)
SAVING = {"format": "PNG 8 bit", "opaque": "PNG 8 bit", "alpha": "straight", "fps": 0.0, "frame": 0}
LOADING = {
    "matte": "none",
    "alpha": "straight",
    "start": 0,
    "count": 0,
    "every": 1,
    "width": 0,
    "height": 0,
}
SAMPLING = {
    "seed": 1,
    "steps": 3,
    "guidance": "model default",
    "scale": 6.0,
    "solver": "model default",
}
OPAQUE = "alpha (1 = opaque)"
MOVE = {
    "x": 0.0,
    "y": 0.0,
    "scale": 1.0,
    "rotate": 0.0,
    "speed": 1.0,
    "reverse": False,
    "start": 0,
    "hold": -1,
    "ending": "hold",
    "alpha_is": OPAQUE,
}
COMPOSITE = {
    "colour": "straight",
    "opacity": 1.0,
    "x": 0,
    "y": 0,
    "resize": "error",
    "length": "error",
    "alpha_is": OPAQUE,
    "residual_scale": 1.0,
    "residual_follows": True,
}


@pytest.fixture(scope="module")
def footage(server) -> Server:
    """A server with a shot, its matte, a title and footage in its input folder."""
    true = render(SCENE)
    folder = server.base / "input"
    shot = true.foreground * true.alpha + GREEN * (1 - true.alpha)
    write_h264(folder / "green.mp4", shot, 8)
    write_h264(folder / "matte.mp4", true.alpha.expand(-1, 3, -1, -1), 8)
    write_h264(folder / "footage.mp4", true.background, 8)
    write_prores(folder / "moving_title.mov", true.foreground, true.alpha, 8)
    title = np.zeros((64, 96, 4), np.uint8)
    title[20:40, 30:60] = 255
    Image.fromarray(title).save(folder / "title.png")
    backdrop = np.full((64, 96, 3), (20, 40, 200), np.uint8)
    Image.fromarray(backdrop).save(folder / "backdrop.png")
    return server


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def load(name: str, **changes) -> dict:
    return node("LoadLayers", **{**LOADING, "source": f"{name} [input]", **changes})


def save(layers: list, prefix: str, **changes) -> dict:
    return node("SaveLayers", layers=layers, filename_prefix=prefix, **{**SAVING, **changes})


def run(server: Server, graph: dict) -> dict[str, Path]:
    """Run a graph; by ``SaveLayers`` node, the folder that it wrote."""
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    folders = {}
    for name, output in entry["outputs"].items():
        if "layerflow_saved" in output:
            record = output["layerflow_saved"][-1]
            folders[name] = server.base / "output" / record["subfolder"]
    return folders


def read_frames(path: Path) -> np.ndarray:
    """[N, H, W, C] in 0..1, by Pillow from a folder of PNGs, by PyAV from a video."""
    if path.is_dir():
        return np.stack([np.asarray(Image.open(image)) for image in sorted(path.iterdir())]) / 255
    with av.open(str(path)) as container:
        return (
            np.stack([frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]) / 255
        )


def as_frames(pixels: torch.Tensor) -> np.ndarray:
    return pixels.permute(0, 2, 3, 1).numpy()


def test_edit_one_layer_keep_the_other(footage):
    true = node("LayerFlowSampleClip", seed=3)
    graph = {
        "clip": true,
        "model": node(
            "LoadLayerFlow",
            checkpoint="embedded (procedural world)",
            precision="auto",
            content_strength=1.0,
            motion_strength=0.0,
        ),
        "given": node(
            "ConditionLayer",
            images=["clip", 2],
            layer="background",
            alpha_is=OPAQUE,
            fit="cover",
            timing="exact",
        ),
        "prompts": node(
            "LayerPrompts", foreground="a red solid circle moving right", background="", blended=""
        ),
        "draw": node(
            "LayerSampler",
            model=["model", 0],
            prompts=["prompts", 0],
            given=["given", 0],
            **SAMPLING,
        ),
        "save": save(["draw", 7], "recipes/edit"),
    }
    folder = run(footage, graph)["save"]
    kept = as_frames(render(draw_scene(3, held_out=True)).background)
    assert abs(read_frames(folder / "background") - kept).max() <= 1 / 255
    assert read_frames(folder / "foreground").shape == (FRAMES, 64, 96, 4)


def condition(layer: str, images: list, **more) -> dict:
    options = {"alpha_is": OPAQUE, "fit": "cover", "timing": "exact", **more}
    return node("ConditionLayer", images=images, layer=layer, **options)


def test_a_clean_plate(footage):
    """What the object hides is drawn: an eighth of the difference that it makes, or less."""
    graph = {
        "clip": node("LayerFlowSampleClip", seed=8),
        "model": node(
            "LoadLayerFlow",
            checkpoint="embedded (procedural world)",
            precision="auto",
            content_strength=1.0,
            motion_strength=0.0,
        ),
        "scene": condition("blended", ["clip", 3]),
        "object": condition("foreground", ["clip", 0], alpha=["clip", 1], given=["scene", 0]),
        "draw": node(
            "LayerSampler",
            model=["model", 0],
            prompts=["clip", 7],
            given=["object", 0],
            **{**SAMPLING, "steps": 4},
        ),
        "save": save(["draw", 7], "recipes/clean_plate"),
    }
    folder = run(footage, graph)["save"]
    true = render(draw_scene(8, held_out=True))
    hidden = (true.alpha > 0.5)[:, 0].numpy()
    drawn = read_frames(folder / "background")[..., :3]
    error = abs(drawn - as_frames(true.background))[hidden].mean()
    left_there = abs(as_frames(true.blended - true.background))[hidden].mean()
    assert error < left_there / 8


def test_move_an_object_and_its_shadow(footage):
    graph = {
        "clip": node("LayerFlowSampleClip", seed=3),
        "explained": node("LayerResidual", layers=["clip", 8]),
        "apart": node("SplitLayers", layers=["explained", 0], foreground=1, frame=0),
        "moved": node(
            "CompositeRGBA",
            foreground=["clip", 0],
            alpha=["clip", 1],
            background=["clip", 2],
            residual=["apart", 7],
            **{**COMPOSITE, "x": 10, "y": -4},
        ),
        "turned": node(
            "TransformLayer", images=["clip", 0], alpha=["clip", 1], **{**MOVE, "rotate": 30.0}
        ),
        "turned_residual": node("TransformLayer", images=["apart", 7], **{**MOVE, "rotate": 30.0}),
        "layers": node(
            "JoinLayers",
            name="moved",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["turned", 0],
            alpha=["turned", 1],
            background=["clip", 2],
            blended=["moved", 0],
        ),
        "save": save(["layers", 0], "recipes/move"),
    }
    folder = run(footage, graph)["save"]
    true = render(draw_scene(3, held_out=True))
    alpha = torch.zeros_like(true.alpha)
    colour = torch.zeros_like(true.foreground)
    alpha[..., :60, 10:] = true.alpha[..., 4:, :-10]
    colour[..., :60, 10:] = true.foreground[..., 4:, :-10]
    expected = as_frames(colour * alpha + true.background * (1 - alpha))
    assert abs(read_frames(folder / "blended") - expected).mean() < 0.01


def test_green_screen_replaced(footage):
    shot = load("green.mp4", matte="matte.mp4 [input]")
    refine = {
        "low": 0.02,
        "high": 0.98,
        "choke": 0.5,
        "feather": 0.0,
        "fringe": 30.0,
        "spill": "green",
        "alpha_is": OPAQUE,
    }
    graph = {
        "shot": shot,
        "refined": node("RefineAlpha", images=["shot", 0], alpha=["shot", 1], **refine),
        "backdrop": node("LoadImage", image="backdrop.png"),
        "comp": node(
            "CompositeRGBA",
            foreground=["refined", 0],
            alpha=["refined", 1],
            background=["backdrop", 0],
            **COMPOSITE,
        ),
        "layers": node(
            "JoinLayers",
            name="actor",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["refined", 0],
            alpha=["refined", 1],
            background=["backdrop", 0],
            blended=["comp", 0],
        ),
        "save": save(["layers", 0], "recipes/green"),
        "model": node(
            "LoadLayerFlow",
            checkpoint="embedded (procedural world)",
            precision="auto",
            content_strength=1.0,
            motion_strength=0.0,
        ),
        "given": node(
            "ConditionLayer",
            images=["refined", 0],
            alpha=["refined", 1],
            layer="foreground",
            alpha_is=OPAQUE,
            fit="cover",
            timing="first",
        ),
        "prompts": node("LayerPrompts", foreground="", background="a night sky", blended=""),
        "draw": node(
            "LayerSampler",
            model=["model", 0],
            prompts=["prompts", 0],
            given=["given", 0],
            **SAMPLING,
        ),
        "drawn": save(["draw", 7], "recipes/green_drawn"),
    }
    folders = run(footage, graph)
    comp = read_frames(folders["save"] / "blended")
    true = render(SCENE)
    outside = as_frames(true.alpha < 0.01)[..., 0]
    inside = as_frames(true.alpha > 0.99)[..., 0]
    blue = np.array([20, 40, 200]) / 255
    assert comp.shape == (FRAMES, 64, 96, 3)
    assert abs(comp[outside] - blue).mean() < 0.02
    if inside.any():
        assert abs(comp[inside] - blue).mean() > 0.05
    assert read_frames(folders["drawn"] / "background").shape == (FRAMES, 64, 96, 3)


@pytest.mark.parametrize("title", ["title.png", "moving_title.mov"])
def test_a_title_over_footage(footage, title):
    graph = {
        "title": load(title),
        "footage": load("footage.mp4"),
        "timed": node(
            "TransformLayer",
            images=["title", 0],
            alpha=["title", 1],
            **{**MOVE, "start": 4, "hold": 12},
        ),
        "layers": node(
            "JoinLayers",
            name="title",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["timed", 0],
            alpha=["timed", 1],
            background=["footage", 0],
        ),
        "show": node("PreviewLayers", layers=["layers", 0], longest_side=720),
        "save": save(["show", 0], "recipes/title"),
    }
    folder = run(footage, graph)["save"]
    shown = read_frames(folder / "title")
    assert shown.shape == (FRAMES, 64, 96, 4)
    assert read_frames(folder / "background").shape == (FRAMES, 64, 96, 3)
    if title == "title.png":
        assert (shown[:, 25:35, 35:55] == 1).all()
        assert (shown[:, :15, :, 3] == 0).all()
    else:
        alpha = render(SCENE).alpha
        expected = [max(0, number - 4) for number in range(12)] + [8] * 4
        assert abs(shown[..., 3] - as_frames(alpha[expected])[..., 0]).max() < 0.02


@pytest.mark.parametrize(
    ("form", "file"), [("animated WebP", "sprite.webp"), ("animated PNG", "sprite.png")]
)
def test_a_loopable_sprite(footage, form, file):
    graph = {
        "clip": node("LayerFlowSampleClip", seed=3),
        "there_and_back": node(
            "TransformLayer",
            images=["clip", 0],
            alpha=["clip", 1],
            **{**MOVE, "speed": 2.0, "ending": "bounce"},
        ),
        "layers": node(
            "JoinLayers",
            name="sprite",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["there_and_back", 0],
            alpha=["there_and_back", 1],
        ),
        "save": save(["layers", 0], "recipes/sprite", format=form, opaque="none"),
    }
    folder = run(footage, graph)["save"]
    with Image.open(folder / file) as image:
        assert image.n_frames == FRAMES
        alphas = []
        for number in range(FRAMES):
            image.seek(number)
            alphas.append(np.asarray(image.convert("RGBA"))[..., 3] / 255)
    true = as_frames(render(draw_scene(3, held_out=True)).alpha)[..., 0]
    there = [2 * number if number < 8 else 30 - 2 * number for number in range(FRAMES)]
    assert abs(np.stack(alphas) - true[there]).max() < 0.01


def test_a_stack_of_foregrounds(footage):
    graph = {
        "low": node("LayerFlowSampleClip", seed=3),
        "high": node("LayerFlowSampleClip", seed=5),
        "first": node(
            "JoinLayers",
            name="low",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["low", 0],
            alpha=["low", 1],
            background=["low", 2],
        ),
        "stack": node(
            "JoinLayers",
            name="high",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["high", 0],
            alpha=["high", 1],
            below=["first", 0],
        ),
        "show": node("PreviewLayers", layers=["stack", 0], longest_side=720),
        "only_high": node(
            "JoinLayers",
            name="high",
            alpha_is=OPAQUE,
            fps=8.0,
            foreground=["high", 0],
            alpha=["high", 1],
        ),
        "comp": node(
            "CompositeRGBA",
            foreground=["low", 0],
            alpha=["low", 1],
            background=["low", 2],
            above=["only_high", 0],
            **COMPOSITE,
        ),
        "layers": node("JoinLayers", name="flat", alpha_is=OPAQUE, fps=8.0, foreground=["comp", 0]),
        "save": save(["show", 0], "recipes/stack"),
        "flat": save(["layers", 0], "recipes/flat"),
    }
    folders = run(footage, graph)
    low = render(draw_scene(3, held_out=True))
    high = render(draw_scene(5, held_out=True))
    below = low.foreground * low.alpha + low.background * (1 - low.alpha)
    expected = as_frames(high.foreground * high.alpha + below * (1 - high.alpha))
    assert abs(read_frames(folders["flat"] / "flat")[..., :3] - expected).max() < 0.01
    assert {"low", "high", "background"} <= {path.name for path in folders["save"].iterdir()}


def test_nuke(footage):
    exr = pytest.importorskip("OpenEXR")
    graph = {
        "clip": node("LayerFlowSampleClip", seed=3),
        "explained": node("LayerResidual", layers=["clip", 8]),
        "save": save(
            ["explained", 0], "recipes/nuke", format="OpenEXR (all layers)", alpha="premultiplied"
        ),
    }
    folder = run(footage, graph)["save"]
    with exr.File(str(folder / "frames" / "00000.exr"), separate_channels=True) as file:
        planes = {
            name: np.array(channel.pixels, np.float32) for name, channel in file.channels().items()
        }
    for letter in "RGB":
        recomposed = (
            planes[letter]
            + planes[f"background.{letter}"] * (1 - planes["A"])
            + planes[f"residual.{letter}"]
        )
        assert abs(recomposed - planes[f"blended.{letter}"]).max() < 2e-3


def test_after_effects_and_resolve(footage):
    graph = {
        "clip": node("LayerFlowSampleClip", seed=3),
        "save": save(["clip", 8], "recipes/ae", format="ProRes 4444 (.mov)", opaque="H.264 (.mp4)"),
    }
    folder = run(footage, graph)["save"]
    with av.open(str(folder / "foreground.mov")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "prores"
        assert stream.codec_context.pix_fmt.startswith("yuva444p")
    alpha = as_frames(render(draw_scene(3, held_out=True)).alpha)[..., 0]
    assert abs(read_frames(folder / "foreground.mov")[..., 3] - alpha).max() < 0.01


def test_photoshop(footage):
    psd_tools = pytest.importorskip("psd_tools")
    graph = {
        "clip": node("LayerFlowSampleClip", seed=3),
        "save": save(["clip", 8], "recipes/psd", format="PSD (one frame, all layers)", frame=5),
    }
    folder = run(footage, graph)["save"]
    document = psd_tools.PSDImage.open(folder / "layers.psd")
    assert [(layer.name, layer.visible) for layer in document] == [
        ("background", True),
        ("foreground", True),
        ("blended", False),
    ]


def test_the_web(footage):
    graph = {
        "clip": node("LayerFlowSampleClip", seed=3),
        "save": save(["clip", 8], "recipes/web", format="VP9 (.webm)", opaque="none"),
    }
    folder = run(footage, graph)["save"]
    with av.open(str(folder / "foreground.webm")) as container:
        assert container.streams.video[0].metadata.get("alpha_mode") == "1"
