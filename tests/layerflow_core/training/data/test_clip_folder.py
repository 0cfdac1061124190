import json
from shutil import rmtree

import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.training.data.clip_folder import RECORD, ClipFolder, write_clip
from layerflow_core.video.encodings import write_h264, write_prores
from layerflow_core.video.images import write_image


def test_a_clip_comes_back_as_it_was_written(tmp_path, make_clip):
    clip = make_clip()
    folder = write_clip(tmp_path, clip)
    assert folder.name == "dog_00001" and write_clip(tmp_path, clip).name == "dog_00002"
    dataset = ClipFolder(tmp_path)
    assert len(dataset) == 2
    back = dataset[1]
    assert back.prompts == clip.prompts and back.fps == clip.fps
    assert all(torch.equal(back.layers[name], clip.layers[name]) for name in clip.layers)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dog_00001", "dog_00002"]


def test_layers_come_from_video_files_stills_and_alpha_within_the_foreground(tmp_path, make_clip):
    clip = make_clip(frames=4)
    folder = tmp_path / "clip"
    write_prores(folder / "foreground.mov", clip.layers["foreground"], clip.layers["alpha"], 8)
    write_image(folder / "background.png", clip.layers["background"][0])
    (folder / RECORD).write_text(json.dumps({"prompts": dict(clip.prompts), "fps": 12}))
    back = ClipFolder(tmp_path)[0]
    assert torch.allclose(back.layers["alpha"], clip.layers["alpha"], atol=2 / 255)
    assert len(back.layers["background"]) == 4 and torch.equal(
        back.layers["background"][3], clip.layers["background"][0]
    )
    composed = back.layers["foreground"] * back.layers["alpha"] + back.layers["background"] * (
        1 - back.layers["alpha"]
    )
    assert torch.allclose(back.layers["blended"], composed, atol=1e-6) and back.fps == 12


def test_only_what_is_needed_must_be_there(tmp_path, make_clip):
    clip = make_clip()
    write_clip(
        tmp_path,
        make_clip(
            layers={"background": clip.layers["background"]}, prompts={"background": "a lawn"}
        ),
        ("background",),
    )
    assert set(ClipFolder(tmp_path, ("background",))[0].layers) == {"background"}
    with pytest.raises(DatasetError, match="layer foreground is missing"):
        ClipFolder(tmp_path)


def test_a_library_reads_the_layers_that_it_needs_alone(tmp_path, make_clip):
    folder = write_clip(tmp_path, make_clip())
    (folder / "blended" / "00000.png").write_bytes(b"no image")
    assert set(ClipFolder(tmp_path, ("foreground", "alpha"))[0].layers) == {"foreground", "alpha"}
    with pytest.raises(DatasetError, match="blended"):
        ClipFolder(tmp_path)[0]


def test_a_blend_is_composed_from_layers_that_are_not_asked_for(tmp_path, make_clip):
    folder, rgb = write_clip(tmp_path, make_clip()), ("foreground", "background", "blended")
    rmtree(folder / "blended")
    whole = ClipFolder(tmp_path, rgb)[0].layers
    assert torch.allclose(whole["blended"], make_clip().complete().layers["blended"], atol=2 / 255)
    rmtree(folder / "alpha")
    with pytest.raises(DatasetError, match="layer alpha is missing"):
        ClipFolder(tmp_path, rgb)[0]


def test_the_fingerprint_follows_the_files(tmp_path, make_clip):
    folder = write_clip(tmp_path, make_clip())
    before = ClipFolder(tmp_path).fingerprint()
    assert ClipFolder(tmp_path).fingerprint() == before
    write_image(folder / "alpha" / "00000.png", torch.zeros(3, 12, 17))
    assert ClipFolder(tmp_path).fingerprint() != before


def _drop_layer(folder):
    for image in (folder / "background").iterdir():
        image.unlink()
    (folder / "background").rmdir()


@pytest.mark.parametrize(
    "damage, message",
    [
        (_drop_layer, "dog_00001: layer background is missing"),
        (
            lambda f: (f / "alpha" / "00002.png").unlink(),
            "dog_00001: layers differ .*alpha 2 frames",
        ),
        (
            lambda f: [
                write_image(f / "background" / f"{i:05d}.png", torch.zeros(3, 12, 18))
                for i in range(3)
            ],
            "layers differ .*background 3 frames of 18 x 12",
        ),
        (
            lambda f: write_image(f / "alpha" / "00001.png", torch.zeros(3, 6, 6)),
            "images of different sizes",
        ),
        (
            lambda f: (f / "blended" / "00001.png").write_bytes(b"no image"),
            r"00001\.png cannot be read",
        ),
        (lambda f: (f / RECORD).unlink(), r"clip\.json cannot be read"),
        (lambda f: (f / RECORD).write_text("{"), r"clip\.json cannot be read"),
        (
            lambda f: (f / RECORD).write_text(
                '{"prompts": {"foreground": "a", "background": " ", "blended": "c"}}'
            ),
            "the prompt for background is empty",
        ),
        (lambda f: (f / RECORD).write_text('{"prompts": {"dog": "a"}}'), "prompts.dog"),
        (lambda f: (f / RECORD).write_text('{"prompts": {}, "rate": 3}'), "rate: got 3"),
        (
            lambda f: (f / RECORD).write_text('{"prompts": {}, "fps": "1/0"}'),
            "fps: got the frame rate",
        ),
        (
            lambda f: write_h264(f / "background.mp4", torch.zeros(3, 3, 12, 16), 8),
            r"got background, background\.mp4, expected one source",
        ),
    ],
)
def test_broken_data_is_named(tmp_path, make_clip, damage, message):
    damage(write_clip(tmp_path, make_clip()))
    with pytest.raises(DatasetError, match=message):
        ClipFolder(tmp_path)[0]


@pytest.mark.parametrize("layer, value", [("foreground", float("nan")), ("alpha", 2.0)])
def test_a_broken_clip_is_not_written(tmp_path, make_clip, layer, value):
    clip = make_clip()
    clip.layers[layer][0, 0, 0, 0] = value
    with pytest.raises(DatasetError, match=f"clip dog, {layer}"):
        write_clip(tmp_path / "set", clip)
    assert not (tmp_path / "set").exists() or not list((tmp_path / "set").iterdir())


def test_empty_places_are_named(tmp_path):
    with pytest.raises(DatasetError, match="holds no clips"):
        ClipFolder(tmp_path)
    with pytest.raises(DatasetError, match="is not there"):
        ClipFolder(tmp_path / "nowhere")
