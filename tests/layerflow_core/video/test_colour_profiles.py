import pytest
from PIL import Image, ImageCms

from layerflow_core.video.colour_profiles import describe_profile, to_srgb


def profile_bytes(profile) -> bytes:
    return ImageCms.ImageCmsProfile(profile).tobytes()


SRGB = profile_bytes(ImageCms.createProfile("sRGB"))
LAB = profile_bytes(ImageCms.createProfile("LAB"))


def with_profile(image, data: bytes):
    image.info["icc_profile"] = data
    return image


def test_an_image_without_a_profile_or_with_srgb_s_stays_as_it_is():
    for image in (Image.new("RGB", (2, 2)), with_profile(Image.new("RGB", (2, 2)), SRGB)):
        converted, remark = to_srgb(image)
        assert converted is image and remark is None


def test_profiles_are_named_and_srgb_needs_no_name():
    assert describe_profile(None) is None and describe_profile(SRGB) is None
    assert describe_profile(b"no profile") == "unreadable"
    assert isinstance(describe_profile(LAB), str)


@pytest.mark.parametrize("data", [b"no profile", SRGB[:200], LAB])
def test_a_profile_that_cannot_be_used_is_remarked_and_pixels_stay(data):
    image = with_profile(Image.new("RGB", (2, 2), (10, 200, 30)), data)
    converted, remark = to_srgb(image)
    assert "cannot be used" in remark and "taken for sRGB" in remark
    assert converted.getpixel((0, 0)) == (10, 200, 30)


def test_lab_becomes_the_grey_that_it_is():
    grey = Image.new("LAB", (2, 2), (128, 128, 128))  # L of one half, no colour
    converted, remark = to_srgb(grey)
    red, green, blue = converted.getpixel((0, 0))
    assert remark is None and converted.mode == "RGB"
    assert max(red, green, blue) - min(red, green, blue) <= 2
    assert red == pytest.approx(119, abs=3)  # L* of 50 is 18.4 % of light, in sRGB 0.466


def test_more_than_eight_bits_are_left_and_it_is_said():
    image = with_profile(Image.new("I", (2, 2)), LAB)
    converted, remark = to_srgb(image)
    assert converted is image and "more than 8 bits" in remark
