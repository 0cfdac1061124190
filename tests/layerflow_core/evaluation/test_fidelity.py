import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.fidelity import (
    frame_psnr,
    frame_ssim,
    mean_error,
    mean_squared_error,
    psnr,
    ssim_map,
)


def waves() -> tuple[torch.Tensor, torch.Tensor]:
    """The pair of images whose PSNR and SSIM are known from CMVQ's files."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    a = torch.stack([0.5 + 0.5 * (x / 5).sin(), 0.5 + 0.5 * (y / 7).cos(), (x + y) / 110])
    b = (a + 0.1 * (x * y / 50).sin()).clamp(0, 1)
    return a[None], b[None]


def test_known_answers_of_psnr_and_ssim():
    a, b = waves()
    assert frame_psnr(a, b) == pytest.approx(23.682698, abs=1e-5)
    assert frame_ssim(a, b) == pytest.approx(0.586055, abs=1e-5)


def test_equal_images_have_the_largest_values():
    a, _ = waves()
    assert frame_psnr(a, a) == pytest.approx(100)
    assert frame_ssim(a, a) == pytest.approx(1)
    assert mean_error(a, a) == mean_squared_error(a, a) == 0


def test_frames_are_averaged_in_decibels_where_the_pooled_value_averages_errors():
    a, b = waves()
    clip = torch.cat([a, a])
    other = torch.cat([b, a + 0.01])
    assert frame_psnr(clip, other) == pytest.approx((23.682698 + 40) / 2, abs=1e-3)
    assert psnr(clip, other) < 27


def test_a_region_alone_is_measured():
    a, _ = waves()
    b = a.clone()
    b[..., :32] += 0.1
    left = torch.zeros(1, 1, 48, 64, dtype=torch.bool)
    left[..., :32] = True
    assert frame_psnr(a, b, left) == pytest.approx(20, abs=1e-4)
    assert frame_psnr(a, b, ~left) == pytest.approx(100)
    assert mean_error(a, b, left) == pytest.approx(0.1, abs=1e-6)
    away = torch.zeros_like(left)
    away[..., 40:] = True
    assert frame_ssim(a, b, away) == pytest.approx(1)
    assert frame_ssim(a, b, left) < 0.999


def test_frames_without_the_region_do_not_count():
    a, b = waves()
    where = torch.zeros(2, 1, 48, 64, dtype=torch.bool)
    where[0] = True
    two = torch.cat([a, a]), torch.cat([b, 1 - a])
    assert frame_psnr(*two, where) == pytest.approx(23.682698, abs=1e-5)
    with pytest.raises(EvaluationError, match="nothing is in the region"):
        frame_psnr(*two, torch.zeros_like(where))
    border = torch.zeros_like(where)
    border[..., :3] = True
    with pytest.raises(EvaluationError, match="nothing is in the region"):
        frame_ssim(*two, border)


def test_windows_are_whole():
    assert ssim_map(torch.rand(1, 3, 12, 15), torch.rand(1, 3, 12, 15)).shape == (1, 3, 2, 5)
    with pytest.raises(EvaluationError, match="got 15 x 10 pixels, expected 11 x 11"):
        frame_ssim(torch.rand(1, 3, 10, 15), torch.rand(1, 3, 10, 15))
