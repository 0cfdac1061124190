import logging

import numpy as np
import pytest
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.layer_files.loading import load_layers

psd_tools = pytest.importorskip("psd_tools")
SIZE = (24, 16)


def image(red: int, alpha: int = 255) -> Image.Image:
    return Image.new("RGBA", SIZE, (red, 0, 0, alpha))


@pytest.fixture()
def document():
    return psd_tools.PSDImage.new("RGBA", SIZE)


def load(document, tmp_path):
    document.save(str(tmp_path / "x.psd"))
    return load_layers(tmp_path / "x.psd")


def seen(layers) -> dict[str, tuple[float, float]]:
    """By layer, red and alpha."""
    return {
        layer.name: (
            round(layer.colour[0, 0].mean().item() * 255),
            round(layer.alpha.mean().item(), 2),
        )
        for layer in layers.foregrounds
    }


def test_layers_of_groups_are_layers(document, tmp_path):
    dog = document.create_pixel_layer(image(50), name="dog")
    cat = document.create_pixel_layer(image(100), name="cat")
    document.create_pixel_layer(image(150), name="top")
    inner = document.create_group([dog], name="inner")
    outer = document.create_group([inner, cat], name="outer")
    inner.opacity = 128
    outer.opacity = 128
    found = seen(load(document, tmp_path))
    assert found["dog"] == (50, 0.25)
    assert found["cat"] == (100, 0.5)
    assert found["top"] == (150, 1.0)


def test_a_group_alone(document, tmp_path):
    document.create_group([document.create_pixel_layer(image(50), name="dog")], name="group")
    assert seen(load(document, tmp_path)) == {"dog": (50, 1.0)}


def test_hidden_groups_and_layers_are_left_out_and_named(document, tmp_path, caplog):
    dog = document.create_pixel_layer(image(50), name="dog")
    document.create_group([dog], name="group").visible = False
    document.create_pixel_layer(image(100), name="cat").visible = False
    document.create_pixel_layer(image(150), name="top")
    with caplog.at_level(logging.WARNING):
        assert list(seen(load(document, tmp_path))) == ["top"]
    assert "left out hidden layers ('dog', 'cat')" in caplog.text


def test_opacity_and_names(document, tmp_path):
    document.create_pixel_layer(image(50), name="dog").opacity = 51
    document.create_pixel_layer(image(100), name="dog")
    document.create_pixel_layer(image(150), name="../../x")
    assert seen(load(document, tmp_path)) == {
        "dog": (50, 0.2),
        "dog_2": (100, 1.0),
        ".._.._x".lstrip("."): (150, 1.0),
    }


def test_blend_modes_bring_a_warning(document, tmp_path, caplog):
    from psd_tools.constants import BlendMode

    document.create_pixel_layer(image(50), name="glow").blend_mode = BlendMode.SCREEN
    with caplog.at_level(logging.WARNING):
        load(document, tmp_path)
    assert "blend modes, effects and clipping are not applied ('glow')" in caplog.text


@pytest.mark.parametrize("make", ["empty", "hidden"])
def test_a_document_without_a_visible_layer(document, tmp_path, make):
    if make == "hidden":
        document.create_pixel_layer(image(50), name="dog").visible = False
    with pytest.raises(VideoFileError, match="has no visible layer"):
        load(document, tmp_path)


def test_damaged_documents_are_typed_errors(document, tmp_path):
    document.create_group([document.create_pixel_layer(image(50), name="dog")], name="group")
    document.save(str(tmp_path / "x.psd"))
    whole = (tmp_path / "x.psd").read_bytes()
    chance = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for position in chance.integers(0, len(whole), 8):
            damaged[position] = chance.integers(0, 256)
        (tmp_path / "y.psd").write_bytes(bytes(damaged[: chance.integers(1, len(whole))]))
        try:
            load_layers(tmp_path / "y.psd")
        except VideoFileError:
            continue
