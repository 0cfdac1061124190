from fractions import Fraction

import pytest
import torch
from PIL import Image

from layerflow_core.video.orientation import from_exif
from layerflow_core.video.still import Facts, read_facts


def image_with(mode: str = "RGB", **info):
    image = Image.new(mode, (4, 2))
    image.info.update(info)
    return image


def test_an_image_that_says_nothing_is_upright_and_square():
    facts = read_facts(image_with())
    assert facts.aspect == 1 and facts.remarks == []
    frame = torch.rand(3, 2, 4)
    assert torch.equal(facts.still_of(frame).frame, frame)


def test_a_turned_image_is_made_upright_and_so_are_its_pixels():
    frame = torch.arange(6.0).view(1, 2, 3)
    still = Facts(from_exif(6), Fraction(2)).still_of(frame)
    assert still.frame.shape == (1, 3, 2)
    assert still.aspect == Fraction(1, 2)
    assert torch.equal(still.frame.rot90(1, (1, 2)), frame)


@pytest.mark.parametrize("kind", ["dpi", "jfif_density", "aspect"])
def test_more_pixels_per_length_are_narrower_pixels(kind):
    assert read_facts(image_with(**{kind: (144, 72)})).aspect == Fraction(1, 2)
    assert read_facts(image_with(**{kind: (72, 72)})).aspect == 1


@pytest.mark.parametrize("density", [(0, 72), (72,), "ab", (float("nan"), 1), None])
def test_nonsense_about_pixels_is_no_aspect(density):
    assert read_facts(image_with(dpi=density)).aspect == 1


def test_what_is_not_honoured_is_remarked():
    (remark,) = read_facts(image_with(gamma=1.0)).remarks
    assert "gamma of 1 is not applied" in remark
    assert read_facts(image_with(gamma=0.45455)).remarks == []
    assert read_facts(image_with(gamma=1.0, srgb=0)).remarks == []
    assert "CMYK" in read_facts(image_with("CMYK")).remarks[0]
