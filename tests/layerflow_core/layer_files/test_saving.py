import json
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from layerflow_core.errors import FrameError, VideoFileError
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.layer_files.record import RECORD
from layerflow_core.layer_files.saving import FORMATS, OPAQUE, SaveOptions, save_layers
from layerflow_core.layer_files.stored_pixels import ALPHA_KINDS, PREMULTIPLIED
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video.files import FrameSelection
from layerflow_core.video.formats import LAYERED

RATE = Fraction(24000, 1001)
EXR = "OpenEXR (all layers)"
PSD = "PSD (one frame, all layers)"
MOVING = [name for name in FORMATS if name not in LAYERED or not LAYERED[name].is_single]
LOSSLESS = {
    "PNG 8 bit": 1 / 510,
    "PNG 16 bit": 1 / 131070,
    "animated WebP": 1 / 510,
    "animated PNG": 1 / 510,
    EXR: 5e-4,
    PSD: 1 / 510,
}
NOTES = {"workflow": {"nodes": [], "text": 'a "quoted" wörd'}, "prompt": {"1": {}}}


@pytest.fixture(scope="module")
def layers() -> LayerVideo:
    true = render(
        next(scene for scene in map(draw_scene, range(99)) if "solid" in scene.blended_prompt)
    )
    video = LayerVideo(
        (Foreground("foreground", true.foreground, true.alpha),),
        true.background.contiguous(),
        true.blended * 0.9,
        float(RATE),
    )
    return video.with_residual()


@pytest.mark.parametrize("alpha", ALPHA_KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_round_trip(layers, tmp_path, form, alpha):
    target = tmp_path / "set"
    written = save_layers(target, layers, SaveOptions(form, "PNG 16 bit", alpha), RATE, NOTES)
    assert written[-1] == target / RECORD and all(path.exists() for path in written)
    back = load_layers(target)
    count = 1 if form == PSD else 16
    assert back.foreground.shape == (count, 3, 64, 96)
    worst = LOSSLESS.get(form, 2 / 255)
    assert (back.alpha - layers.alpha[:count]).abs().max() <= worst
    solid = (layers.alpha[:count] > 0.99).expand(-1, 3, -1, -1)
    assert (back.foreground - layers.foreground[:count]).abs()[solid].max() <= (
        2 * worst if form in LOSSLESS else 0.2
    )
    assert (back.background - layers.background[:count]).abs().max() <= 5e-4 + (
        worst if form == PSD else 0
    )
    if form != PSD:
        assert back.residual is not None and (back.residual - layers.residual).abs().max() <= 1e-3
        assert back.fps == pytest.approx(float(RATE), rel=1e-3 if "animated" in form else 1e-9)
    record = json.loads((target / RECORD).read_text())
    assert record["fps"] == "24000/1001" and record["workflow"] == NOTES["workflow"]
    assert record["alpha"] == ("straight" if form == PSD else alpha)


@pytest.mark.parametrize("form", [name for name in OPAQUE if name != "none"])
def test_opaque_layers(layers, tmp_path, form):
    save_layers(tmp_path / "set", layers, SaveOptions("PNG 8 bit", form), RATE)
    back = load_layers(tmp_path / "set")
    assert (
        back.blended.shape == layers.blended.shape
        and (back.blended - layers.blended).abs().mean() < 0.01
    )
    assert (back.residual - layers.residual).abs().mean() < 0.02


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe here")
@pytest.mark.parametrize(
    "form, name, expected",
    [
        (
            "ProRes 4444 (.mov)",
            "foreground.mov",
            {"codec_name": "prores", "pix_fmt": "yuva444p12le|yuva444p10le", "profile": "4444"},
        ),
        (
            "VP9 (.webm)",
            "foreground.webm",
            {"codec_name": "vp9", "pix_fmt": "yuv420p", "alpha_mode": "1"},
        ),
        ("PNG 8 bit", "background.mp4", {"codec_name": "h264", "pix_fmt": "yuv420p"}),
    ],
)
def test_ffmpeg_reads_what_we_say(layers, tmp_path, form, name, expected):
    save_layers(tmp_path / "set", layers, SaveOptions(form), RATE, NOTES)
    shown = subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-show_streams",
            "-count_frames",
            "-of",
            "json",
            str(tmp_path / "set" / name),
        ],
        capture_output=True,
        text=True,
    )
    (stream,) = json.loads(shown.stdout)["streams"]
    facts = {key.lower(): value for key, value in (stream | stream.get("tags", {})).items()}
    for key, value in expected.items():
        assert facts[key] in value.split("|"), facts
    assert facts["r_frame_rate"] == "24000/1001" and int(facts["nb_read_frames"]) == 16
    assert (
        facts["color_space"] == facts["color_transfer"] == facts["color_primaries"] == "bt709"
        and facts["color_range"] == "tv"
    )


def test_picked_frames_and_sizes(layers, tmp_path):
    for form in ("ProRes 4444 (.mov)", "PNG 8 bit", EXR):
        save_layers(tmp_path / form, layers, SaveOptions(form))
        back = load_layers(tmp_path / form, FrameSelection(start=2, every=3, count=4, width=48))
        assert back.foreground.shape == (4, 3, 32, 48) and back.blended.shape == (4, 3, 32, 48)
        assert back.fps == pytest.approx(float(RATE) / 3, rel=1e-6)
        middle = torch.nn.functional.interpolate(
            layers.alpha[[2, 5, 8, 11]], (32, 48), mode="bicubic", antialias=True
        ).clamp(0, 1)
        assert (back.alpha - middle).abs().max() < 0.02
    with pytest.raises(VideoFileError, match="fewer than the first one picked"):
        load_layers(tmp_path / "PNG 8 bit" / "foreground", FrameSelection(start=99))


def test_colour_and_matte_in_files_of_their_own(layers, tmp_path):
    save_layers(tmp_path / "set", layers, SaveOptions("PNG 8 bit", "PNG 8 bit"))
    matte = LayerVideo(
        (Foreground("matte", layers.alpha.expand(-1, 3, -1, -1), None),), None, None, 8.0
    )
    save_layers(tmp_path / "matte", matte, SaveOptions("PNG 8 bit"))
    back = load_layers(tmp_path / "set" / "background", matte=tmp_path / "matte" / "matte")
    assert (back.alpha - layers.alpha).abs().max() <= 1 / 500 and back.background is None


def test_two_foregrounds(layers, tmp_path):
    second = Foreground("second", layers.foreground.flip(-1), layers.alpha.flip(-1))
    both = replace(layers, foregrounds=(*layers.foregrounds, second), residual=None)
    for form in ("PNG 16 bit", EXR, "ProRes 4444 (.mov)"):
        save_layers(tmp_path / form, both, SaveOptions(form))
        assert [layer.name for layer in load_layers(tmp_path / form).foregrounds] == [
            "foreground",
            "second",
        ]


@pytest.mark.parametrize("shape", [(1, 64, 96), (3, 63, 95), (2, 1, 1)])
@pytest.mark.parametrize("form", MOVING)
def test_odd_sizes_and_one_frame(tmp_path, form, shape):
    count, height, width = shape
    layer = Foreground(
        "foreground",
        torch.rand(count, 3, height, width),
        torch.rand(count, 1, height, width).round(),
    )
    save_layers(tmp_path / "set", LayerVideo((layer,), layer.colour, None, 8.0), SaveOptions(form))
    back = load_layers(tmp_path / "set")
    assert back.foreground.shape == back.background.shape == (count, 3, height, width)


def test_nothing_is_overwritten_and_nothing_is_left_behind(layers, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    with pytest.raises(VideoFileError, match="is not overwritten"):
        save_layers(tmp_path / "set", layers, SaveOptions("PNG 8 bit"))
    assert list(tmp_path.iterdir()) == [tmp_path / "set"] and not list((tmp_path / "set").iterdir())
    short = replace(layers, background=layers.background[:3])
    with pytest.raises(FrameError, match="different frames"):
        save_layers(tmp_path / "short", short, SaveOptions())
    with pytest.raises(FrameError, match="frame 99"):
        save_layers(tmp_path / "psd", layers, SaveOptions(PSD, frame=99))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(VideoFileError, match="No space left"):
        save_layers(tmp_path / "full", layers, SaveOptions("PNG 8 bit"))
    assert list(tmp_path.iterdir()) == [tmp_path / "set"]


@pytest.fixture
def disk(tmp_path):
    """Mounts a disk of 64 KiB at a folder, with options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size=64k,{options}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("form", MOVING)
def test_a_full_disk(layers, disk, form):
    folder = disk("rw")
    with pytest.raises(VideoFileError):
        save_layers(folder / "set", layers, SaveOptions(form, "PNG 16 bit"))
    assert not list(folder.iterdir())


@pytest.mark.parametrize("form", FORMATS)
def test_a_disk_that_is_read_only(layers, disk, form):
    folder = disk("ro")
    with pytest.raises(VideoFileError, match="(?i)read-only"):
        save_layers(folder / "set", layers, SaveOptions(form))


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot be read as JSON"),
        (
            '{"files": {"a": "../x.mov"}, "alpha": "straight", "fps": "8/1", "foregrounds": ["a"]}',
            "without folders",
        ),
    ],
)
def test_broken_records(tmp_path, text, message):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(VideoFileError, match=message):
        load_layers(tmp_path)


@pytest.mark.parametrize("name", ["a.mov", "a.webm", "a.png", "a.exr", "a.psd", "a.webp"])
def test_broken_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0" * 200)
    with pytest.raises(VideoFileError, match=name):
        load_layers(tmp_path / name)


def test_premultiplied_files_hold_premultiplied_colour(layers, tmp_path):
    save_layers(tmp_path / "set", layers, SaveOptions("PNG 16 bit", alpha=PREMULTIPLIED))
    raw = load_layers(tmp_path / "set" / "foreground")
    assert (raw.foreground - layers.foreground * layers.alpha).abs().max() < 1e-4
    unknown = ("format", "opaque", "alpha")
    for field in unknown:
        with pytest.raises(VideoFileError, match="unknown"):
            SaveOptions(**{field: "magic"})


@pytest.mark.parametrize(
    "form, opaque",
    [(form, "H.264 (.mp4)") for form in MOVING]
    + [("PNG 8 bit", name) for name in OPAQUE if name != "none"],
)
def test_frozen_layers_keep_their_length(layers, tmp_path, form, opaque):
    held = LayerVideo(
        (
            Foreground(
                "foreground",
                *(clip[:1].repeat(6, 1, 1, 1) for clip in (layers.foreground, layers.alpha)),
            ),
        ),
        *(clip[:1].repeat(6, 1, 1, 1) for clip in (layers.background, layers.blended)),
        float(RATE),
    )
    save_layers(tmp_path / "set", held, SaveOptions(form, opaque), RATE)
    assert {
        name: len(clip) for name, clip in load_layers(tmp_path / "set").clips().items()
    } == dict.fromkeys(held.clips(), 6)
