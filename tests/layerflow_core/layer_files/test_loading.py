"""Layers from whatever lies on disk; what is saved and loaded again is in ``test_saving``."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from layerflow_core.errors import FrameError, VideoFileError
from layerflow_core.layer_files.loading import find_record, load_layers, load_set
from layerflow_core.layer_files.record import RECORD, read_set
from layerflow_core.layer_files.saving import SaveOptions, save_layers
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.video.exr import write_exr
from layerflow_core.video.frame_selection import FrameSelection
from layerflow_core.video.png import write_png, write_png_sequence
from layerflow_core.video.psd import write_psd

PNGS = SaveOptions("PNG 8 bit", "PNG 8 bit")


def whole(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)) / 255


@pytest.fixture
def layers() -> LayerVideo:
    colour = whole(4, 3, 6, 8)
    foregrounds = tuple(Foreground(name, colour, colour[:, :1]) for name in ("dog", "cat"))
    return LayerVideo(foregrounds, colour.flip(0), colour.flip(2), 8.0)


@pytest.fixture
def saved(tmp_path, layers):
    save_layers(tmp_path / "set", layers, PNGS)
    return tmp_path / "set"


def test_a_set_is_named_by_its_folder_or_its_record(saved, layers):
    assert find_record(saved) == find_record(saved / RECORD) == saved / RECORD
    assert find_record(saved / "dog") is None and find_record(saved / "gone") is None
    for path in (saved, saved / RECORD):
        loaded = load_layers(path)
        assert [layer.name for layer in loaded.foregrounds] == ["dog", "cat"]
        assert torch.allclose(loaded.background, layers.background, atol=1e-6)


def test_a_part_of_a_set_is_that_part_of_every_layer(saved, layers):
    loaded = load_layers(saved, FrameSelection(start=1, every=2))
    assert torch.allclose(loaded.foreground, layers.foreground[1::2], atol=1e-6)
    assert torch.allclose(loaded.blended, layers.blended[1::2], atol=1e-6)
    assert loaded.fps == 4


def test_only_what_is_wanted_is_read(saved):
    (saved / "blended" / "00002.png").write_bytes(b"damaged")
    loaded = load_set(read_set(saved / RECORD), only=("cat", "background"))
    assert [layer.name for layer in loaded.foregrounds] == ["cat"] and loaded.blended is None
    with pytest.raises(VideoFileError, match="00002.png"):
        load_layers(saved)


def test_a_premultiplied_set_is_made_straight(tmp_path, layers):
    covered = replace(layers.foregrounds[0], alpha=layers.alpha.clamp(min=0.5))
    save_layers(
        tmp_path / "set",
        LayerVideo((covered,), None, None, 8.0),
        SaveOptions("PNG 16 bit", alpha="premultiplied"),
    )
    assert torch.allclose(load_layers(tmp_path / "set").foreground, covered.colour, atol=1e-3)


def test_any_images_are_a_foreground_and_a_matte_its_alpha(tmp_path):
    colour = whole(3, 3, 6, 8)
    matte = whole(3, 1, 6, 8)
    write_png_sequence(tmp_path / "shot", colour)
    write_png_sequence(tmp_path / "matte", matte.expand(-1, 3, -1, -1))
    (plain,) = load_layers(tmp_path / "shot").foregrounds
    assert plain.alpha is None and torch.allclose(plain.colour, colour, atol=1e-6)
    (cut,) = load_layers(tmp_path / "shot", matte=tmp_path / "matte").foregrounds
    assert torch.allclose(cut.alpha, matte, atol=0.01)


def test_colour_of_a_file_is_what_somebody_says_it_is(tmp_path):
    image = torch.cat([torch.full((3, 4, 4), 0.25), torch.full((1, 4, 4), 0.5)])
    write_png(tmp_path / "a.png", image, 65535)
    assert load_layers(tmp_path / "a.png").foreground.mean() == pytest.approx(0.25, abs=1e-3)
    straight = load_layers(tmp_path / "a.png", alpha="premultiplied")
    assert straight.foreground.mean() == pytest.approx(0.5, abs=1e-3)


def write_exrs(folder, *frames: dict) -> None:
    folder.mkdir()
    for number, layers in enumerate(frames):
        write_exr(folder / f"{number}.exr", layers, {}, Fraction(8))


def test_layered_files_may_list_their_layers_in_any_order(tmp_path):
    dog = torch.rand(4, 4, 4)
    cat = torch.rand(4, 4, 4)
    first = {"": torch.rand(4, 4, 4)}
    frames = (first | {"dog": dog, "cat": cat}, first | {"cat": cat, "dog": dog})
    write_exrs(tmp_path / "a", *frames)
    loaded = {layer.name: layer for layer in load_layers(tmp_path / "a").foregrounds}
    assert set(loaded) == {"foreground", "dog", "cat"}
    assert torch.allclose(loaded["dog"].alpha[1], dog[3:], atol=1e-3)
    write_exrs(tmp_path / "b", frames[0], first | {"dog": dog})
    with pytest.raises(VideoFileError, match=r"has the layers \['', 'dog'\], expected"):
        load_layers(tmp_path / "b")


def test_a_set_without_a_foreground_is_refused(tmp_path):
    path = tmp_path / "a.psd"
    write_psd(path, {}, {"background": torch.rand(3, 4, 4)})
    with pytest.raises(VideoFileError, match="expected a foreground too"):
        load_layers(path)


def test_layers_that_do_not_fit_each_other_are_refused(saved):
    write_png_sequence(saved / "cat", whole(4, 4, 5, 5))
    with pytest.raises(FrameError, match="differ|fit|expected"):
        load_layers(saved)


def test_nothing_there_is_a_typed_error(tmp_path):
    for path in (tmp_path, tmp_path / "gone.mov", tmp_path / RECORD):
        with pytest.raises(VideoFileError):
            load_layers(path)
