"""Colour profiles (ICC) that images carry, through LittleCMS."""

from __future__ import annotations

import io

_SPACES = {
    "RGB": "RGB",
    "GRAY": "L",
    "CMYK": "CMYK",
}  # of profiles, and the modes of images that they fit


def to_srgb(image) -> tuple:
    """A ``PIL.Image.Image`` in sRGB, and a remark if its profile cannot be honoured.

    Returns:
        The image, as it was where it has no profile, or sRGB's; and None or a text.
    """
    from PIL import ImageCms

    data = image.info.get("icc_profile")
    if image.mode == "LAB":
        return _from_lab(image), None
    if not data:
        return image, None
    title = describe_profile(data)
    if title is None:
        return image, None
    if image.mode[0] in "IF":
        return image, f"its colour profile {title!r} is not applied to more than 8 bits"
    try:
        return _convert(image, ImageCms.ImageCmsProfile(io.BytesIO(data))), None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return (
            image,
            f"its colour profile {title!r} cannot be used, and its colours are taken for sRGB",
        )


def describe_profile(data: bytes | None) -> str | None:
    """The name of a profile other than sRGB; None if there is none."""
    from PIL import ImageCms

    if not data:
        return None
    try:
        title = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))).strip()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "unreadable"
    return None if "srgb" in title.lower() else title or "unnamed"


def _convert(image, profile):
    """Raises ValueError if the profile is for another kind of image."""
    from PIL import ImageCms

    if image.mode in ("La", "LA", "RGBa", "PA") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    space = profile.profile.xcolor_space.strip()
    mode = _SPACES.get(space)
    if mode is None:
        raise ValueError(f"a profile for {space}")
    if mode == "CMYK" and image.mode != "CMYK":
        raise ValueError(f"a profile for CMYK in an image of {image.mode}")
    plain = image if image.mode == mode else image.convert(mode)
    colour = ImageCms.profileToProfile(
        plain, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if alpha is not None:
        colour.putalpha(alpha)
    return colour


def _from_lab(image):
    from PIL import ImageCms

    lab = ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB")
