import pytest
import torch

from layerflow_core.evaluation.networks.preprocessing import (
    clip_frames,
    dino_frames,
    middle_frames,
    resize_shorter,
    to_bytes,
)

FRAMES = (torch.rand(2, 3, 250, 331, generator=torch.Generator().manual_seed(0)) * 255).round()


def test_shapes():
    assert clip_frames(FRAMES).shape == (2, 3, 224, 224)
    assert dino_frames(torch.zeros(1, 3, 480, 720)).shape == (1, 3, 224, 336)
    assert dino_frames(torch.zeros(1, 3, 720, 480)).shape == (1, 3, 336, 224)
    assert to_bytes(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0, 128, 255]


def test_bytes_are_clipped_and_rounded_and_floats_are_not():
    steps = torch.zeros(1, 3, 300, 300)
    steps[..., 150:] = 255
    assert resize_shorter(steps, "bicubic").max() > 255
    assert not torch.equal(clip_frames(steps), clip_frames(steps, in_bytes=True))


def test_frames_are_the_middles_of_equal_intervals():
    assert middle_frames(16) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert middle_frames(49) == [2, 8, 14, 20, 26, 32, 38, 45]
    assert middle_frames(3) == [0, 1, 2, 2, 2, 2, 2, 2]


def test_the_same_as_torchvision():
    transforms = pytest.importorskip("torchvision.transforms")
    bicubic = transforms.InterpolationMode.BICUBIC
    clip = transforms.Compose(
        [
            transforms.Resize(224, interpolation=bicubic, antialias=False),
            transforms.CenterCrop(224),
            transforms.Lambda(lambda x: x.float().div(255.0)),
            transforms.Normalize(
                (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
            ),
        ]
    )
    assert torch.allclose(clip_frames(FRAMES), clip(FRAMES), atol=1e-5)
    assert torch.allclose(clip_frames(FRAMES, True), clip(FRAMES.byte()), atol=1e-5)
    resized = transforms.Resize(224, antialias=False)(FRAMES)
    assert torch.allclose(resize_shorter(FRAMES, "bilinear"), resized, atol=1e-3)
