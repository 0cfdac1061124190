import json

import pytest
import torch
from PIL import Image

from layerflow_core.errors import FrameError
from layerflow_core.video.files import read_video
from layerflow_core.video.frame_selection import ALL
from layerflow_core.video.png import (
    insert_metadata,
    is_deep_png,
    read_deep_png,
    write_apng,
    write_png,
    write_png_sequence,
)


def whole_numbers(top: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, top + 1, shape, generator=generator) / top


@pytest.mark.parametrize("channels", [3, 4])
def test_eight_bits_are_what_another_reader_sees(tmp_path, channels):
    image = whole_numbers(255, channels, 5, 7)
    write_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as read:
        assert read.mode == ("RGBA" if channels == 4 else "RGB")
        seen = torch.tensor(list(read.tobytes())).view(5, 7, channels).permute(2, 0, 1)
    assert torch.equal(seen, (image * 255).round().long())


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_come_back(tmp_path, channels):
    image = whole_numbers(65535, channels, 5, 7)
    write_png(tmp_path / "a.png", image, 65535)
    assert is_deep_png((tmp_path / "a.png").read_bytes()[:64])
    assert torch.allclose(read_deep_png(tmp_path / "a.png", ALL).frame, image, atol=1e-7)


def test_only_a_png_of_sixteen_bits_is_deep(tmp_path):
    write_png(tmp_path / "a.png", torch.rand(3, 4, 4))
    assert not is_deep_png((tmp_path / "a.png").read_bytes()[:64])
    assert not is_deep_png(b"") and not is_deep_png(b"\x89PNG\r\n\x1a\n")


def test_a_sequence_is_numbered_and_only_its_first_image_carries_the_graph(tmp_path):
    frames = whole_numbers(255, 12, 3, 4, 4)
    paths = write_png_sequence(tmp_path / "dog", frames, metadata={"prompt": {"1": "caf\u00e9"}})
    assert [path.name for path in paths] == [f"{number:05d}.png" for number in range(12)]
    texts = []
    for path in paths:
        with Image.open(path) as image:
            texts.append(image.info.get("prompt"))
    assert json.loads(texts[0]) == {"1": "caf\u00e9"} and texts[1:] == [None] * 11
    assert torch.allclose(read_video(tmp_path / "dog").colour, frames, atol=1e-6)


def test_an_animation_plays_with_its_alpha_and_its_rate(tmp_path):
    frames = whole_numbers(255, 3, 4, 6, 8)
    write_apng(tmp_path / "a.png", frames, 8, {"prompt": "a dog"})
    footage = read_video(tmp_path / "a.png")
    assert torch.allclose(footage.colour, frames[:, :3], atol=1e-6)
    assert torch.allclose(footage.alpha, frames[:, 3:], atol=1e-6) and footage.fps == 8
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["prompt"] == "a dog" and image.n_frames == 3


def test_metadata_is_put_into_a_file_that_is_there(tmp_path):
    image = whole_numbers(255, 3, 4, 4)
    write_png(tmp_path / "a.png", image)
    insert_metadata(tmp_path / "a.png", {"comment": "later"})
    with Image.open(tmp_path / "a.png") as read:
        read.load()
        assert read.info["comment"] == "later"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_images_of_another_shape_leave_no_partial_file(tmp_path):
    with pytest.raises(FrameError, match=r"expected \[3 or 4, H, W\]"):
        write_png(tmp_path / "a.png", torch.rand(2, 4, 4))
    with pytest.raises(FrameError, match="got no images"):
        write_png_sequence(tmp_path, [])
    with pytest.raises(FrameError, match=r"got image 1 of \[3, 4, 5\]"):
        write_png_sequence(tmp_path, [torch.rand(3, 4, 4), torch.rand(3, 4, 5)])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
