"""Numbers and images that a graph sent by a program may hold; the browser's widgets would not let them through."""

import math

import pytest
import torch

NAN, INF = math.nan, math.inf
IMAGES = torch.rand(2, 16, 24, 3)
MASKS = torch.rand(2, 16, 24)
CLIP = {
    "foreground": IMAGES,
    "alpha": MASKS,
    "background": IMAGES,
    "foreground_prompt": "a",
    "background_prompt": "b",
    "blended_prompt": "c",
}


def check(call, name: str, **inputs) -> None:
    with pytest.raises(Exception, match="got .*expected") as caught:
        call(name, **inputs)
    assert type(caught.value).__name__ == "LayerFlow"


@pytest.mark.parametrize("fps", [NAN, INF, -INF, -1.0, 1e9])
def test_frame_rates(fps, call):
    joined = call("JoinLayers", foreground=IMAGES)[0]
    check(call, "JoinLayers", foreground=IMAGES, fps=fps)
    check(call, "SaveLayers", layers=joined, fps=fps)
    check(call, "CollectLayerClip", **CLIP, fps=fps)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30])
@pytest.mark.parametrize("widget", ["low", "high", "choke", "feather", "fringe"])
def test_refinements(widget, value, call):
    check(call, "RefineAlpha", images=IMAGES, alpha=MASKS, **{widget: value})


@pytest.mark.parametrize("value", [NAN, INF])
def test_strengths(value, call):
    check(
        call,
        "CompositeRGBA",
        foreground=IMAGES,
        alpha=MASKS,
        background=IMAGES,
        residual=IMAGES,
        residual_scale=value,
    )
    check(call, "LoadLayerFlow", content_strength=value)
    check(call, "LoadLayerFlow", motion_strength=value)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES[:0],
        IMAGES[:, :0],
        IMAGES[:, :, :0],
        IMAGES * NAN,
        IMAGES + INF,
        IMAGES[..., :2],
        IMAGES[0],
    ],
    ids=["no frames", "no rows", "no columns", "NaN", "infinite", "two channels", "one image"],
)
def test_images(images, call):
    check(call, "JoinLayers", foreground=images)
    check(call, "TransformLayer", images=images)
    check(call, "CompositeRGBA", foreground=IMAGES, alpha=MASKS, background=images)


@pytest.mark.parametrize(
    "masks",
    [MASKS[:0], MASKS[:, :0], MASKS * NAN, MASKS[0]],
    ids=["no frames", "no rows", "NaN", "one"],
)
def test_masks(masks, call):
    check(call, "JoinLayers", foreground=IMAGES, alpha=masks)
    check(call, "RefineAlpha", images=IMAGES, alpha=masks)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_kinds_of_floats_are_taken(kind, call):
    layers = call("JoinLayers", foreground=IMAGES.to(kind), alpha=MASKS.to(kind))[0]
    assert layers.foreground.dtype == torch.float32
