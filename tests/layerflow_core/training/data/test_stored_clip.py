"""Clips of the older ``clip.json``; those of ``layers.json`` are tested with the folder that holds them."""

import json
from shutil import rmtree

import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.training.data.clip_folder import ClipFolder
from layerflow_core.training.data.stored_clip import OLD_RECORD, open_clip
from layerflow_core.video.png import write_png
from layerflow_core.video.streams.encodings import write_h264, write_prores


def test_an_old_clip_comes_back_as_it_was_written(tmp_path, make_clip, write_old_clip):
    clip = make_clip()
    stored = open_clip(write_old_clip(tmp_path / "dog_00001", clip))
    assert stored.prompts == clip.prompts and stored.fps == clip.fps
    back = stored.read(tuple(clip.layers))
    for name, pixels in clip.layers.items():
        assert torch.equal(back[name], pixels), name


def test_layers_come_from_video_files_stills_and_alpha_within_the_foreground(tmp_path, make_clip):
    clip = make_clip(frames=4)
    true = clip.layers
    folder = tmp_path / "clip"
    write_prores(folder / "foreground.mov", true["foreground"], true["alpha"], 8)
    write_png(folder / "background.png", true["background"][0])
    (folder / OLD_RECORD).write_text(json.dumps({"prompts": dict(clip.prompts), "fps": 12}))
    back = ClipFolder(tmp_path)[0]
    layers = back.layers
    assert back.fps == 12
    assert torch.allclose(layers["alpha"], true["alpha"], atol=2 / 255)
    assert len(layers["background"]) == 4
    assert torch.equal(layers["background"][3], true["background"][0])
    front = layers["foreground"] * layers["alpha"]
    composed = front + layers["background"] * (1 - layers["alpha"])
    assert torch.allclose(layers["blended"], composed, atol=1e-6)


def test_a_blend_is_composed_only_where_there_is_an_alpha(tmp_path, make_clip, write_old_clip):
    folder = write_old_clip(tmp_path / "dog_00001", make_clip())
    rgb = ("foreground", "background", "blended")
    rmtree(folder / "blended")
    whole = ClipFolder(tmp_path, rgb)[0].layers
    assert torch.allclose(whole["blended"], make_clip().complete().layers["blended"], atol=2 / 255)
    rmtree(folder / "alpha")
    with pytest.raises(DatasetError, match="layer alpha is missing"):
        ClipFolder(tmp_path, rgb)[0]


def _write_record(text):
    return lambda folder: (folder / OLD_RECORD).write_text(text)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: rmtree(f / "background"), "dog_00001: layer background is missing"),
        (lambda f: (f / "alpha" / "00002.png").unlink(), "layers differ .*alpha 2 frames"),
        (
            lambda f: write_png(f / "alpha" / "00001.png", torch.zeros(3, 6, 6)),
            "images of different sizes",
        ),
        (
            lambda f: (f / "blended" / "00001.png").write_bytes(b"no image"),
            r"00001\.png cannot be read",
        ),
        (lambda f: (f / OLD_RECORD).unlink(), "has no layers.json"),
        (_write_record("{"), r"clip\.json cannot be read"),
        (_write_record('{"prompts": {"foreground": "a"}}'), "the prompt for background, blended"),
        (_write_record('{"prompts": {"dog": "a"}}'), "prompts.dog"),
        (_write_record('{"prompts": {}, "rate": 3}'), "rate: got 3"),
        (_write_record('{"prompts": {}, "fps": "1/0"}'), "fps: got the frame rate"),
        (
            lambda f: write_h264(f / "background.mp4", torch.zeros(3, 3, 12, 16), 8),
            r"got background, background\.mp4, expected one source",
        ),
    ],
)
def test_broken_data_is_named(tmp_path, make_clip, write_old_clip, damage, message):
    damage(write_old_clip(tmp_path / "dog_00001", make_clip()))
    with pytest.raises(DatasetError, match=message):
        ClipFolder(tmp_path)[0]
