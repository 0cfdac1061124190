"""Every row of the table can do what it says."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from layerflow_core.video.files import read_video
from layerflow_core.video.formats import (
    ENDINGS,
    FORMATS,
    FRAME_ENDINGS,
    LAYERED,
    OPAQUE,
    STREAM,
    WITH_ALPHA,
    WRITTEN_ENDINGS,
    find_format,
)


def smooth(frames: int, channels: int) -> torch.Tensor:
    """[N, C, 64, 96] that lossy encodings keep."""
    across = torch.linspace(0.2, 0.8, 96).expand(frames, channels, 64, 96).clone()
    across *= torch.linspace(0.7, 1, frames).view(-1, 1, 1, 1)
    return across


@pytest.mark.parametrize("name", [*WITH_ALPHA, *OPAQUE])
def test_what_a_writer_saves_is_read_again(tmp_path, name):
    has_alpha = name in WITH_ALPHA
    writer = WITH_ALPHA[name] if has_alpha else OPAQUE[name]
    frames = smooth(3, 4 if has_alpha else 3)
    path = writer.save(tmp_path / "dog", frames, Fraction(8), {})
    assert path.name == f"dog{writer.ending}" and path.exists()
    footage = read_video(path)
    assert (footage.colour - frames[:, :3]).abs().mean() < 0.02
    if has_alpha:
        assert (footage.alpha - frames[:, 3:]).abs().mean() < 0.02
    else:
        assert footage.alpha is None


@pytest.mark.parametrize("name", LAYERED)
def test_a_file_of_all_layers_has_them_all(tmp_path, name):
    form = LAYERED[name]
    foregrounds = {"dog": torch.rand(4, 8, 8), "cat": torch.rand(4, 8, 8)}
    path = tmp_path / f"a{form.ending}"
    form.write(path, foregrounds, {"background": torch.rand(3, 8, 8)}, Fraction(8), {})
    read = dict(form.read(path))
    if "" in read:  # the layer that programs show which know of one only
        read["dog"] = read.pop("")
    assert set(read) == {"dog", "cat", "background"}
    assert all((read[key][3] - image[3]).abs().max() < 0.01 for key, image in foregrounds.items())


def test_a_dot_in_a_name_is_no_ending():
    (writer,) = (row for row in WITH_ALPHA.values() if row.ending == ".webm")
    seen = []
    bare = type(writer)("x", ".webm", lambda path, *rest: seen.append(path))
    assert bare.save(Path("a/dog.1"), [], Fraction(8), {}) == Path("a/dog.1.webm") == seen[0]


def test_each_ending_has_one_row_and_an_unknown_one_is_told_by_its_bytes():
    endings = [ending for row in FORMATS for ending in row.endings]
    assert len(endings) == len(set(endings)) == len(ENDINGS)
    for row in FORMATS:
        assert all(find_format(Path(f"a{ending.upper()}")) is row for ending in row.endings)
    assert find_format(Path("a.dat")) is find_format(Path("a")) is STREAM


def test_what_is_written_is_read_and_frames_are_images():
    assert WRITTEN_ENDINGS <= ENDINGS
    for ending in FRAME_ENDINGS:
        assert find_format(Path(f"a{ending}")).read_still is not None
