from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video.tiff import bits_of, is_deep_tiff, read_deep_tiff, read_tags

from .clips import as_tensor


def write_tiff(path, array: np.ndarray, pixel_format: str):
    """By ffmpeg: Pillow writes no colour of 16 bits."""
    import av

    encoder = av.CodecContext.create("tiff", "w")
    encoder.height, encoder.width = array.shape[:2]
    encoder.pix_fmt = pixel_format
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(array, format=pixel_format)
    frame.pts = 0
    data = [*encoder.encode(frame), *encoder.encode()]
    path.write_bytes(b"".join(map(bytes, data)))
    return path


@pytest.fixture
def deep() -> np.ndarray:
    """[H, W, 3] of 16 bits, whose lower bytes matter."""
    return np.random.default_rng(0).integers(0, 65536, (6, 8, 3), dtype=np.uint16)


def test_sixteen_bits_are_read_whole(tmp_path, deep):
    path = write_tiff(tmp_path / "a.tif", deep, "rgb48le")
    tags = read_tags(path)
    assert is_deep_tiff(tags) and bits_of(tags) == (16, 16, 16)
    assert torch.allclose(read_deep_tiff(path, tags).frame, as_tensor(deep), atol=1e-6)


def test_eight_bits_and_greys_are_not_deep_colour(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "eight.tif")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "grey.tif")
    assert bits_of(read_tags(tmp_path / "eight.tif")) == (8, 8, 8)
    for name in ("eight.tif", "grey.tif"):
        assert not is_deep_tiff(read_tags(tmp_path / name))


def test_an_orientation_is_honoured(tmp_path, deep):
    path = write_tiff(tmp_path / "a.tif", deep, "rgb48le")
    turned = read_deep_tiff(path, {**read_tags(path), 274: 3}).frame
    assert torch.allclose(turned, as_tensor(deep).flip(1, 2), atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"II*\0", b"no tiff at all"])
def test_what_is_no_tiff_is_a_typed_error(tmp_path, data):
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(VideoFileError, match="a.tif cannot be read"):
        read_tags(tmp_path / "a.tif")
