import pytest
import torch

from layerflow_core import cli
from layerflow_core.errors import DatasetError
from layerflow_core.training.data.clip_folder import ClipFolder
from layerflow_core.training.data.coarse import (
    border_share,
    coarse_clips,
    match_prompts,
    overlap,
    read_masks,
    sort_masks,
)
from layerflow_core.video.png import write_png_sequence


def box(top, bottom, left, right):
    mask = torch.zeros(2, 1, 20, 20)
    mask[:, :, top:bottom, left:right] = 1
    return mask


MASKS = {
    "dog": box(5, 12, 5, 12),
    "dog again": box(5, 12, 5, 11),
    "ball": box(14, 17, 14, 17),
    "nothing": box(0, 0, 0, 0),
    "everything": box(0, 20, 0, 20),
    "wall": box(0, 6, 0, 20) + box(14, 20, 0, 20),
}


def test_only_masks_worth_a_clip_are_taken():
    taken, refused = sort_masks(MASKS)
    assert list(taken) == ["dog", "ball"]
    reasons = {r.mask: r.reason for r in refused}
    assert reasons["dog again"].startswith("the same as dog") and reasons["nothing"].startswith(
        "empty"
    )
    assert reasons["everything"].startswith("whole frame") and reasons["wall"].startswith(
        "like a background"
    )


def test_measures():
    assert border_share(box(0, 20, 0, 20)) == 1 and border_share(box(1, 19, 1, 19)) == 0
    assert border_share(box(0, 1, 0, 20)) == pytest.approx(22 / 78, abs=0.05)
    assert overlap(box(0, 10, 0, 10), box(0, 10, 5, 15)) == pytest.approx(1 / 3)


def test_clips_have_the_footage_as_colour_and_blend():
    footage, inpainted = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20)
    prompts = dict.fromkeys(MASKS, {"foreground": "a", "background": "b", "blended": "c"})
    clips, refused = coarse_clips("park", footage, inpainted, MASKS, prompts)
    assert [c.name for c in clips] == ["park_dog", "park_ball"] and len(refused) == 4
    assert torch.equal(clips[0].layers["foreground"], footage)
    with pytest.raises(DatasetError, match="mask dog has no prompts"):
        coarse_clips("park", footage, inpainted, MASKS, {})
    with pytest.raises(DatasetError, match="layers differ"):
        coarse_clips("park", footage, inpainted[..., :10], MASKS, prompts)


def test_one_mask_and_one_background_stand_for_all_frames():
    footage, inpainted = torch.rand(2, 3, 20, 20), torch.rand(1, 3, 20, 20)
    masks = {"dog": MASKS["dog"][:1], "ball": MASKS["ball"]}
    prompts = dict.fromkeys(masks, {"foreground": "a", "background": "b", "blended": "c"})
    clips, _ = coarse_clips("park", footage, inpainted, masks, prompts)
    layers = {clip.name: clip for clip in clips}["park_dog"].layers
    assert torch.equal(layers["alpha"], MASKS["dog"])
    ball = MASKS["ball"].bool().expand(-1, 3, -1, -1)
    assert torch.equal(layers["background"][~ball], inpainted.expand(2, -1, -1, -1)[~ball])
    assert torch.equal(layers["background"][ball], footage[ball])


@pytest.mark.parametrize(
    "mask", [torch.ones(3, 1, 20, 20), torch.ones(2, 1, 10, 20)], ids=["frames", "height"]
)
def test_a_mask_of_another_size_is_named(mask):
    footage = torch.rand(2, 3, 20, 20)
    prompts = dict.fromkeys(("dog", "odd"), {"foreground": "a", "background": "b", "blended": "c"})
    with pytest.raises(DatasetError, match="mask odd: got .*expected 2 frames of 20 x 20"):
        coarse_clips("park", footage, footage, {"dog": MASKS["dog"], "odd": mask}, prompts)


def test_the_other_objects_stay_in_a_clips_background():
    footage, inpainted = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20)
    masks = {"dog": box(5, 12, 5, 12), "ball": box(10, 16, 10, 16)}
    prompts = dict.fromkeys(masks, {"foreground": "a", "background": "b", "blended": "c"})
    clips, _ = coarse_clips("park", footage, inpainted, masks, prompts)
    behind_dog = {clip.name: clip for clip in clips}["park_dog"].layers["background"]
    ball_alone = (masks["ball"] * (1 - masks["dog"])).bool().expand(-1, 3, -1, -1)
    assert torch.equal(behind_dog[ball_alone], footage[ball_alone])
    assert torch.equal(behind_dog[~ball_alone], inpainted[~ball_alone])
    alone, _ = coarse_clips("park", footage, inpainted, {"dog": masks["dog"]}, prompts)
    assert torch.equal(alone[0].layers["background"], inpainted)


def test_prompts_belong_to_masks_in_their_order():
    masks = {"dog": MASKS["dog"], "ball": MASKS["ball"]}
    matched = match_prompts(masks, ["a dog", "a ball"], ["a park"], ["play", "rest"])
    assert matched == {
        "dog": {"foreground": "a dog", "background": "a park", "blended": "play"},
        "ball": {"foreground": "a ball", "background": "a park", "blended": "rest"},
    }
    with pytest.raises(DatasetError, match="got 1 prompts for foreground and 2 masks"):
        match_prompts(masks, ["a dog"], ["a park"], ["play"])
    with pytest.raises(DatasetError, match="or one for all"):
        match_prompts(masks, ["a dog", "a ball"], [], ["play"])


def test_masks_of_one_name_in_several_folders_are_kept_apart(tmp_path):
    for folder in ("a", "b"):
        write_png_sequence(tmp_path / folder / "mask", MASKS["dog"].expand(-1, 3, -1, -1))
    assert list(read_masks([tmp_path / "a" / "mask", tmp_path / "b" / "mask"])) == [
        "mask",
        "mask_2",
    ]


def test_a_mask_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        read_masks([tmp_path / "nowhere.mp4"])


def test_the_command_line_sorts_masks_into_a_dataset(tmp_path, capsys):
    footage = torch.rand(2, 3, 20, 20)
    for name, frames in {
        "park": footage,
        "clean": footage * 0.5,
        **{n: m.expand(-1, 3, -1, -1) for n, m in MASKS.items()},
    }.items():
        write_png_sequence(tmp_path / name, frames)
    masks = [
        word
        for name in MASKS
        for word in ("--mask", str(tmp_path / name), "--foreground", f"a {name}")
    ]
    rest = ["--background", "a park", "--blended", "a dog in a park"]
    command = ["coarse", str(tmp_path / "park"), "--inpainted", str(tmp_path / "clean")]
    assert cli.main([*command, *masks, *rest, "--out", str(tmp_path / "set")]) == 0
    clips = ClipFolder(tmp_path / "set")
    assert [c.name for c in clips.clips] == ["park_ball_00001", "park_dog_00001"]
    assert torch.equal(clips[1].layers["alpha"], MASKS["dog"])
    assert [clip.prompts["foreground"] for clip in clips] == ["a ball", "a dog"]
    assert clips[1].prompts["blended"] == "a dog in a park"
    assert "refused wall: like a background" in capsys.readouterr().err
    assert cli.main([*command, *masks, "--out", str(tmp_path / "other")]) == 1
    assert "got 0 prompts for background and 6 masks" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    empty = ["--mask", str(tmp_path / "nothing"), "--foreground", "x"]
    assert cli.main([*command, *empty, *rest, "--out", str(tmp_path / "other")]) == 1
    assert "got no clip of 1 masks" in capsys.readouterr().err
