"""Colour profiles (ICC) that pictures carry, through LittleCMS."""

from __future__ import annotations

import io

_SPACES = {
    "RGB": "RGB",
    "GRAY": "L",
    "CMYK": "CMYK",
}  # of profiles, and the modes of pictures that they fit


def to_srgb(picture) -> tuple:
    """A ``PIL.Image.Image`` in sRGB, and a remark if its profile cannot be honoured.

    Returns:
        The picture, as it was where it has no profile, or sRGB's; and None or a text.
    """
    from PIL import ImageCms

    data = picture.info.get("icc_profile")
    if picture.mode == "LAB":
        return _from_lab(picture), None
    if not data:
        return picture, None
    title = describe_profile(data)
    if title is None:
        return picture, None
    if picture.mode[0] in "IF":
        return picture, f"its colour profile {title!r} is not applied to more than 8 bits"
    try:
        return _convert(picture, ImageCms.ImageCmsProfile(io.BytesIO(data))), None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return (
            picture,
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


def _convert(picture, profile):
    """Raises ValueError if the profile is for another kind of picture."""
    from PIL import ImageCms

    if picture.mode in ("La", "LA", "RGBa", "PA") or "transparency" in picture.info:
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    alpha = picture.getchannel("A") if "A" in picture.getbands() else None
    space = profile.profile.xcolor_space.strip()
    mode = _SPACES.get(space)
    if mode is None:
        raise ValueError(f"a profile for {space}")
    if mode == "CMYK" and picture.mode != "CMYK":
        raise ValueError(f"a profile for CMYK in a picture of {picture.mode}")
    plain = picture if picture.mode == mode else picture.convert(mode)
    colour = ImageCms.profileToProfile(
        plain, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if alpha is not None:
        colour.putalpha(alpha)
    return colour


def _from_lab(picture):
    from PIL import ImageCms

    lab = ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(picture, lab, ImageCms.createProfile("sRGB"), outputMode="RGB")
