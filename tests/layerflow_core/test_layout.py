import json
from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import LayoutError
from layerflow_core.layout import LAYOUTS, OFFICIAL_VARIANTS, Clip, Layout, find_layout
from layerflow_core.official.verification import GOLDEN

SHORT = {"fg": "foreground", "alpha": "alpha", "bg": "background", "bl": "blended"}

# (latent frames, pixel frames, given latent frames, texts) of the released code
OFFICIAL = {
    "gen_rgb": (12, 48, [], 3),
    "gen_rgba": (16, 64, [], 3),
    "seg_rgb": (12, 48, [10, 11], 2),
    "seg_rgba": (16, 64, [12, 13, 14, 15], 2),
    "fg2bg_rgb": (12, 48, [0, 1, 2, 3], 3),
    "fg2bg_rgba": (17, 65, list(range(9)), 3),
    "bg2fg_rgb": (12, 48, [4, 5, 6, 7], 3),
    "bg2fg_rgba": (17, 65, [9, 10, 11, 12], 3),
}


@pytest.fixture
def two_foregrounds() -> Layout:
    """A row that no official variant has."""
    clips = tuple(
        Clip(n, k)
        for n, k in (
            ("car", "foreground"),
            ("car matte", "alpha"),
            ("dog", "foreground"),
            ("dog matte", "alpha"),
            ("street", "background"),
        )
    )
    return Layout("two foregrounds", clips, ("car", "dog", "street"), layer_embedding=True)


@pytest.mark.parametrize("variant", OFFICIAL_VARIANTS)
def test_official_rows(variant):
    row = find_layout(variant)
    frames, pixel_frames, given, texts = OFFICIAL[variant]
    assert (row.frames, row.pixel_frames, list(row.given_frames), len(row.texts)) == (
        frames,
        pixel_frames,
        given,
        texts,
    )
    assert sorted(row.given_frames + row.generated_frames) == list(range(frames))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*_rgb*.json")), ids=lambda p: p.stem)
def test_rows_agree_with_recorded_sequences(path):
    if path.name.endswith(".ckpt.json"):
        pytest.skip("no sequence")
    recorded = json.loads(path.read_text())
    row = find_layout(recorded["variant"])
    for segment in recorded["sequence"]["segments"]:
        if segment["name"] != "dup":
            span = row.span(SHORT[segment["name"]])
            assert (span.start, span.stop - span.start) == (segment["start"], segment["count"])
    assert list(row.generated_frames) == recorded["sequence"]["generated_frames"]
    assert row.layer_embedding == (recorded["layer_embedder_index"] is not None)


@pytest.mark.parametrize("row", LAYOUTS.values(), ids=lambda r: r.name)
def test_join_and_cut_are_inverse(row):
    full = torch.randn(2, row.frames, 3, 2, 2)
    assert torch.equal(row.join(row.generated_of(full), row.given_of(full)), full)
    clips = {name: torch.randn(row.clip_pixel_frames, 3, 2, 2) for name in row.names}
    stack = row.stack(clips)
    assert len(stack) == row.pixel_frames
    assert all(torch.equal(value, clips[name]) for name, value in row.cut(stack).items())


@pytest.mark.parametrize("row", LAYOUTS.values(), ids=lambda r: r.name)
def test_rows_survive_json(row):
    assert Layout.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_leading_duplicate_is_given_with_the_first_clip():
    assert 0 in find_layout("fg2bg_rgba").given_frames
    assert 0 in find_layout("bg2fg_rgba").generated_frames


def test_seg_rgb_may_be_given_the_whole_clip():
    assert find_layout("seg_rgb").with_given("blended").given_frames == (8, 9, 10, 11)


def test_two_foregrounds_are_a_row(two_foregrounds):
    row = two_foregrounds.with_given("dog", "dog matte", "street")
    assert row.alpha_of("car").name == "car matte" and row.alpha_of("dog").name == "dog matte"
    assert row.generated_frames == tuple(range(8)) and row.given_frames == tuple(range(8, 20))
    assert row.pixel_span("dog") == slice(32, 48)


def test_refuses_rows_that_contradict_themselves(two_foregrounds):
    with pytest.raises(LayoutError, match="different names"):
        replace(two_foregrounds, clips=two_foregrounds.clips[:1] * 2)
    with pytest.raises(LayoutError, match="prompts for"):
        replace(two_foregrounds, texts=("cat",))
    with pytest.raises(LayoutError, match="at least one to generate"):
        two_foregrounds.with_given(*two_foregrounds.names)
    with pytest.raises(LayoutError, match="before any foreground"):
        Layout("x", (Clip("a", "alpha"),), ())
    with pytest.raises(LayoutError, match="kind"):
        Clip("a", "shadow")
    with pytest.raises(LayoutError, match="different lengths"):
        Layout("x", (Clip("a", "foreground"), Clip("b", "background", 2)), ())


def test_unknown_names_are_refused_by_name(two_foregrounds):
    with pytest.raises(LayoutError, match="gen_xyz.*gen_rgb"):
        find_layout("gen_xyz")
    with pytest.raises(LayoutError, match="cat.*car"):
        two_foregrounds.span("cat")
    with pytest.raises(LayoutError, match="3 generated and 0 given"):
        find_layout("gen_rgb").join(torch.zeros(1, 3, 1, 1, 1), None)
    with pytest.raises(LayoutError, match="fields of Layout"):
        Layout.from_json({"name": "x", "clips": [], "texts": [], "colour": "red"})
