import json
from dataclasses import replace
from fractions import Fraction
from shutil import rmtree

import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.layer_files.record import RECORD
from layerflow_core.layer_files.saving import FORMATS, SaveOptions, save_layers
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.training.data.clip_folder import ClipFolder, write_clip
from layerflow_core.video.formats import LAYERED
from layerflow_core.video.png import write_png


def save_as_set(folder, clip, form="PNG 8 bit", opaque="PNG 8 bit", prompts=True, **changes):
    """A clip as SaveLayers writes it."""
    layers = clip.layers
    foreground = Foreground("dog", layers["foreground"], layers["alpha"])
    video = LayerVideo((foreground,), layers["background"], layers["blended"], float(clip.fps))
    facts = {"prompts": dict(clip.prompts)} if prompts else {}
    save_layers(folder, replace(video, **changes), SaveOptions(form, opaque), clip.fps, facts=facts)
    return folder


def test_a_clip_comes_back_as_it_was_written(tmp_path, make_clip):
    clip = make_clip()
    folder = write_clip(tmp_path, clip)
    assert folder.name == "dog_00001" and write_clip(tmp_path, clip).name == "dog_00002"
    dataset = ClipFolder(tmp_path)
    assert len(dataset) == 2
    back = dataset[1]
    assert back.prompts == clip.prompts and back.fps == clip.fps
    assert set(back.layers) == set(clip.layers)
    for name, pixels in clip.layers.items():
        assert torch.equal(back.layers[name], pixels), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dog_00001", "dog_00002"]


def test_a_clip_is_a_set_of_layers(tmp_path, make_clip):
    """What LoadLayers shows of it."""
    clip = make_clip()
    layers = load_layers(write_clip(tmp_path, clip))
    assert torch.equal(layers.foreground, clip.layers["foreground"])
    assert torch.equal(layers.alpha, clip.layers["alpha"])
    assert torch.equal(layers.background, clip.layers["background"])
    assert torch.equal(layers.blended, clip.layers["blended"])


def test_colours_that_nobody_sees_are_kept(tmp_path, make_clip):
    clip = make_clip()
    clip.layers["alpha"][:] = 0
    back = ClipFolder(write_clip(tmp_path, clip).parent)[0]
    assert torch.equal(back.layers["foreground"], clip.layers["foreground"])
    assert torch.equal(back.layers["alpha"], clip.layers["alpha"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_saved_set_is_a_clip(tmp_path, make_clip, form):
    clip = make_clip()
    save_as_set(tmp_path / "set", clip, form)
    back = ClipFolder(tmp_path)[0]
    is_single = form in LAYERED and LAYERED[form].is_single
    count = 1 if is_single else len(clip.layers["alpha"])
    assert set(back.layers) == set(clip.layers)
    assert back.prompts == clip.prompts and back.fps == Fraction(24000, 1001)
    for name, pixels in clip.layers.items():
        assert back.layers[name].shape == pixels[:count].shape
    difference = (back.layers["alpha"] - clip.layers["alpha"][:count]).abs().max()
    assert difference <= 2 / 255


def test_one_set_alone_is_a_dataset(tmp_path, make_clip):
    clip = make_clip()
    dataset = ClipFolder(save_as_set(tmp_path / "set", clip))
    assert len(dataset) == 1
    assert torch.equal(dataset[0].layers["alpha"], clip.layers["alpha"])


def test_a_set_without_prompts_says_where_they_go(tmp_path, make_clip):
    folder = save_as_set(tmp_path / "set", make_clip(), prompts=False)
    with pytest.raises(DatasetError) as caught:
        ClipFolder(tmp_path)
    message = str(caught.value)
    assert f"into {folder / RECORD}" in message
    told = json.loads("{" + message[message.index('"prompts"') : message.index(" into ")] + "}")
    record = json.loads((folder / RECORD).read_text())
    texts = {"prompts": {name: "a text" for name in told["prompts"]}}
    (folder / RECORD).write_text(json.dumps(record | texts))
    assert ClipFolder(tmp_path)[0].prompts == texts["prompts"]


def test_a_set_of_two_foregrounds_is_refused(tmp_path, make_clip):
    clip = make_clip()
    front = clip.layers["foreground"]
    both = (Foreground("dog", front, None), Foreground("cat", front, None))
    save_as_set(tmp_path / "set", clip, foregrounds=both)
    with pytest.raises(DatasetError, match="names the foregrounds dog, cat, expected one"):
        ClipFolder(tmp_path)


def test_an_opaque_foreground_has_an_alpha_of_one(tmp_path, make_clip):
    clip = make_clip()
    clip.layers["alpha"][:] = 1
    back = ClipFolder(write_clip(tmp_path, clip).parent)[0]
    assert torch.equal(back.layers["alpha"], clip.layers["alpha"])


def test_old_datasets_are_read_and_appended_to(tmp_path, make_clip, write_old_clip):
    old = write_old_clip(tmp_path / "dog_00007", make_clip())
    assert write_clip(tmp_path, make_clip()).name == "dog_00008"
    dataset = ClipFolder(tmp_path)
    assert [clip.name for clip in dataset.clips] == [old.name, "dog_00008"]
    for name in make_clip().layers:
        assert torch.equal(dataset[0].layers[name], dataset[1].layers[name])
    assert dataset[0].prompts == dataset[1].prompts
    assert dataset[0].fps == dataset[1].fps


def test_only_what_is_needed_must_be_there(tmp_path, make_clip):
    clip = make_clip()
    background = {"background": clip.layers["background"]}
    lawn = make_clip(layers=background, prompts={"background": "a lawn"})
    write_clip(tmp_path, lawn, ("background",))
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
    clip = make_clip().complete()
    layers = {name: pixels for name, pixels in clip.layers.items() if name != "blended"}
    rgb = ("foreground", "background", "blended")
    save_as_set(tmp_path / "set", make_clip(), blended=None)
    composed = ClipFolder(tmp_path, rgb)[0].layers["blended"]
    expected = make_clip(layers=layers).complete().layers["blended"]
    assert torch.allclose(composed, expected, atol=1e-6)


def test_the_fingerprint_follows_the_files(tmp_path, make_clip):
    folder = write_clip(tmp_path, make_clip())
    before = ClipFolder(tmp_path).fingerprint()
    assert ClipFolder(tmp_path).fingerprint() == before
    write_png(folder / "foreground" / "00000.png", torch.zeros(4, 12, 17))
    assert ClipFolder(tmp_path).fingerprint() != before


def _damage_image(folder):
    (folder / "blended" / "00001.png").write_bytes(b"no image")


def _widen_background(folder):
    for number in range(3):
        write_png(folder / "background" / f"{number:05d}.png", torch.zeros(3, 12, 18))


def _change_record(**changes):
    def change(folder):
        record = json.loads((folder / RECORD).read_text())
        (folder / RECORD).write_text(json.dumps(record | changes))

    return change


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: rmtree(f / "background"), "background"),
        (lambda f: (f / "background" / "00002.png").unlink(), "dog_00001: .*different frames"),
        (_widen_background, "different frames, height, width"),
        (
            lambda f: write_png(f / "background" / "00001.png", torch.zeros(3, 6, 6)),
            "images of different sizes",
        ),
        (_damage_image, r"00001\.png cannot be read"),
        (lambda f: (f / RECORD).unlink(), "has no layers.json"),
        (lambda f: (f / RECORD).write_text("{"), r"layers\.json cannot be read"),
        (
            _change_record(prompts={"foreground": "a", "background": " ", "blended": "c"}),
            "the prompt for background is empty",
        ),
        (_change_record(prompts={"dog": "a"}), "prompts: dog"),
        (_change_record(prompts="a dog"), "prompts"),
        (_change_record(fps="1/0"), "fps: got the frame rate"),
        (_change_record(files={"foreground": "../x"}), "without folders"),
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
