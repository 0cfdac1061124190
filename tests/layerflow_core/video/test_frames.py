import json

import pytest
import torch

from layerflow_core.errors import FrameError
from layerflow_core.official.verification import GOLDEN
from layerflow_core.video.frames import (
    FITS,
    Fit,
    Windows,
    check_frames,
    hold_last,
    pick_frames,
    resize,
    spread_frames,
)


def test_frame_choice_against_the_record():
    for case in json.loads((GOLDEN / "preprocess.json").read_text())["frame_choice"]:
        assert pick_frames(min(case["available"], 64), 16, case["start"]) == case["picks"], case


def test_spread_and_hold():
    assert spread_frames(5, 3) == [0, 2, 4]
    assert spread_frames(2, 4) == [0, 0, 1, 1]
    frames = torch.arange(3.0).view(3, 1, 1, 1)
    assert hold_last(frames, 5).flatten().tolist() == [0, 1, 2, 2, 2]
    assert hold_last(frames, 2).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("mode", FITS)
@pytest.mark.parametrize("size", [(64, 96), (480, 720), (37, 251), (251, 37), (2, 3)])
def test_fit_and_back(mode, size):
    fit = Fit(size, 64, 96, mode)
    there = fit.apply(torch.rand(2, 3, *size))
    assert there.shape == (2, 3, 64, 96) and 0 <= there.min() and there.max() <= 1
    assert fit.undo(there).shape == (2, 3, *size)


@pytest.mark.parametrize("mode", ("pad", "stretch"))
def test_smooth_images_survive_fit_and_back(mode):
    y, x = torch.meshgrid(torch.linspace(0, 1, 90), torch.linspace(0, 1, 70), indexing="ij")
    image = torch.stack([x, y, x * y])[None].repeat(2, 1, 1, 1)
    fit = Fit((90, 70), 64, 96, mode)
    assert (fit.undo(fit.apply(image)) - image).abs().max() < 0.03


def test_equal_size_is_untouched():
    frames = torch.rand(2, 3, 64, 96)
    assert resize(frames, 64, 96) is frames
    for mode in FITS:
        fit = Fit((64, 96), 64, 96, mode)
        assert torch.equal(fit.undo(fit.apply(frames)), frames)


@pytest.mark.parametrize("total", [1, 2, 15, 16, 17, 28, 29, 100])
@pytest.mark.parametrize("overlap", [0, 4, 15])
def test_windows_cover_everything_and_merge_back(total, overlap):
    windows = Windows(total, 16, overlap)
    video = torch.rand(total, 1, 2, 2)
    pieces = list(windows.cut(video))
    assert all(len(piece) == 16 for piece in pieces)
    assert torch.allclose(windows.merge(pieces), video, atol=1e-6)


def test_windows_cross_fade():
    windows = Windows(28, 16, 4)
    assert windows.starts == [0, 12]
    merged = windows.merge([torch.zeros(16, 1, 1, 1), torch.ones(16, 1, 1, 1)]).flatten()
    assert merged[:12].eq(0).all() and merged[16:].eq(1).all()
    assert torch.allclose(merged[12:16], torch.tensor([0.2, 0.4, 0.6, 0.8]))


@pytest.mark.parametrize(
    "frames, message",
    [
        (torch.zeros(0, 3, 4, 4), "0 frames"),
        (torch.zeros(1, 3, 4, 4), "1 frames.*2 or more"),
        (torch.full((2, 3, 4, 4), float("nan")), "NaN"),
        (torch.full((2, 3, 4, 4), float("inf")), "infinite"),
        (torch.full((2, 3, 4, 4), 255.0), "divide"),
        (torch.zeros(2, 4, 4, 4), "expected frames of"),
        (torch.zeros(3, 4, 4), "expected frames of"),
        (torch.zeros(2, 3, 0, 4), "empty"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "uint8"),
        ("video", "str"),
    ],
)
def test_bad_frames_are_refused(frames, message):
    with pytest.raises(FrameError, match=message):
        check_frames(frames, "clip")


def test_bad_rules_are_refused():
    with pytest.raises(FrameError, match="pad"):
        Fit((1, 1), 2, 2, "squeeze")
    with pytest.raises(FrameError, match="windows"):
        Windows(10, 16, 16)
