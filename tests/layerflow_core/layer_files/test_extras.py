from fractions import Fraction

import pytest
import torch

from layerflow_core.layer_files.extras import EXTRAS, FRAMES
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.video.files import read_video


@pytest.fixture
def layers() -> LayerVideo:
    across = torch.linspace(0, 1, 96).expand(3, 3, 64, 96)
    foreground = Foreground("dog", across, across[:, :1])
    return LayerVideo((foreground,), 1 - across, None, 8.0)


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_writes_what_it_names_and_nothing_else(tmp_path, layers, name):
    files = EXTRAS[name].write(tmp_path, layers, Fraction(8), "straight")
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.iterdir()}
    assert written == {file.split("/")[0] for file in files.values()} and written
    stems = {entry.split(".")[0] for entry in written}
    assert stems == set(EXTRAS[name].stems) or name == FRAMES


def test_recomposed_is_the_foregrounds_over_the_background(tmp_path, layers):
    EXTRAS["recomposed"].write(tmp_path, layers, Fraction(8), "straight")
    footage = read_video(tmp_path / "recomposed.mp4")
    assert footage.fps == 8
    assert (footage.colour - layers.recompose()).abs().mean() < 0.02


def test_nothing_is_recomposed_without_a_background(tmp_path, layers):
    alone = LayerVideo(layers.foregrounds, None, layers.foreground, 8.0)
    assert EXTRAS["recomposed"].write(tmp_path, alone, Fraction(8), "straight") == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["straight", "premultiplied"])
def test_frames_are_of_the_kind_that_the_set_is(tmp_path, layers, kind):
    EXTRAS[FRAMES].write(tmp_path, layers, Fraction(8), kind)
    footage = read_video(tmp_path / "dog")
    expected = layers.foreground * (layers.alpha if kind == "premultiplied" else 1)
    assert torch.allclose(footage.colour, expected, atol=0.6 / 255)
    assert torch.allclose(footage.alpha, layers.alpha, atol=0.6 / 255)
