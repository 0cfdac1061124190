import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core import commands
from layerflow_core.cli import build_parser, main
from layerflow_core.errors import Cancelled
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.official.verification import GOLDEN
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video.files import read_video
from layerflow_core.video.streams.encodings import write_h264, write_prores

PACK = Path(__file__).parents[2]
WORDS = ["--foreground", "a red solid star", "--background", "a night sky"]
TRUE = render(draw_scene(3))


@pytest.fixture
def fast(quick_checkpoint) -> list[str]:
    """Options of runs whose image does not matter."""
    return ["--steps", "2", "--device", "cpu", "--model", str(quick_checkpoint)]


def test_check_writes_its_report_and_fails_where_something_is_wrong(tmp_path, capsys, monkeypatch):
    from layerflow_core.check import checking
    from layerflow_core.check.cases import Case, Reading

    def set_case(reading: Reading) -> None:
        rows = [("row", lambda: reading)]
        monkeypatch.setattr(checking, "CASES", [Case("case", ("value",), lambda bench: rows)])

    out = tmp_path / "report"
    set_case(Reading(("1",)))
    assert main(["check", "--device", "cpu", "--out", str(out)]) == 0
    assert "| row | 1 |" in out.with_suffix(".md").read_text()
    assert str(out.with_suffix(".json")) in capsys.readouterr().out
    set_case(Reading(("2",), "got 2, expected 1", True))
    assert main(["check", "--device", "cpu", "--out", str(out)]) == 1
    assert json.loads(out.with_suffix(".json").read_text())["failures"] == [
        "case, row: got 2, expected 1"
    ]
    assert main(["check", "--minutes", "nan"]) == 1
    assert "expected a number above 0" in capsys.readouterr().err


def test_generate_writes_a_folder_that_says_what_it_is(tmp_path, capsys, fast):
    assert (
        main(
            ["generate", *WORDS, "--blended", "both", "--seed", "4", "--out", str(tmp_path), *fast]
        )
        == 0
    )
    record = json.loads((tmp_path / "layers.json").read_text())
    assert record["prompts"] == {
        "foreground": "a red solid star",
        "background": "a night sky",
        "blended": "both",
    }
    assert (record["seed"], record["steps"], record["fps"], record["frames"]) == (4, 2, "8/1", 16)
    assert record["alpha"] == "straight" and len(record["checkpoint_sha256"]) == 64
    layers = load_layers(tmp_path)
    assert layers.alpha.shape == (16, 1, 64, 96) and layers.blended is not None and layers.fps == 8
    movie = read_video(tmp_path / "foreground.mov")
    pngs = read_video(tmp_path / "foreground")
    assert movie.alpha is not None and movie.colour.shape == pngs.colour.shape == (16, 3, 64, 96)
    for name in ("background.mp4", "blended.mp4", "recomposed.mp4"):
        assert len(read_video(tmp_path / name).colour) == 16
    assert Image.open(tmp_path / "contact_sheet.png").width > 300
    assert str(tmp_path / "contact_sheet.png") in capsys.readouterr().out


def test_same_seed_same_files(tmp_path, fast):
    for out in ("a", "b"):
        main(["generate", *WORDS, "--seed", "4", "--out", str(tmp_path / out), *fast])
    first, second = (read_video(tmp_path / out / "foreground") for out in ("a", "b"))
    assert torch.equal(first.colour, second.colour) and torch.equal(first.alpha, second.alpha)


def test_lora_of_both_kinds_change_the_layers(tmp_path, quick_model, fast):
    from safetensors.torch import save_file

    from layerflow_core.model.lora import add_adapter
    from layerflow_core.model.lora_file import share_weights, write_lora

    network = share_weights(quick_model.network)
    add_adapter(network.backbone, "content", 2)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    write_lora(tmp_path / "own.safetensors", network, "content")
    width = quick_model.config.network.hidden_size
    pair = {
        f"transformer.transformer_blocks.0.attn1.to_v.lora_{m}.weight": torch.randn(s)
        for m, s in (("A", (2, width)), ("B", (width, 2)))
    }
    save_file(pair, tmp_path / "plain.safetensors")
    layers = {}
    for chosen in ((), ("own",), ("plain",), ("own", "plain")):
        options = [
            part
            for name in chosen
            for part in ("--lora", str(tmp_path / f"{name}.safetensors"), "0.8")
        ]
        assert (
            main(
                ["generate", *WORDS, *options, "--seed", "4", "--out", str(tmp_path / "out"), *fast]
            )
            == 0
        )
        layers[chosen] = read_video(tmp_path / "out" / "foreground").colour
        record = json.loads((tmp_path / "out" / "layers.json").read_text())
        applied = {lora["name"].removesuffix(".safetensors"): lora for lora in record["loras"]}
        assert set(applied) == set(chosen)
        for name, lora in applied.items():
            data = (tmp_path / f"{name}.safetensors").read_bytes()
            assert lora["strength"] == 0.8
            assert lora["sha256"] == hashlib.sha256(data).hexdigest()
    pairs = [(a, b) for a in layers for b in layers if a < b]
    assert all((layers[a] - layers[b]).abs().max() > 0.02 for a, b in pairs)
    assert (
        main(
            [
                "generate",
                *WORDS,
                "--lora",
                str(tmp_path / "none.safetensors"),
                "1",
                "--out",
                str(tmp_path / "x"),
                *fast,
            ]
        )
        == 1
    )


def test_decompose_keeps_frames_size_and_rate(tmp_path, fast):
    video = torch.nn.functional.interpolate(TRUE.blended, (50, 70))[:11]
    write_h264(tmp_path / "in.mp4", video, 24)
    assert (
        main(["decompose", str(tmp_path / "in.mp4"), *WORDS, "--out", str(tmp_path / "out"), *fast])
        == 0
    )
    back = read_video(tmp_path / "out" / "foreground.mov")
    assert back.colour.shape == (11, 3, 50, 70) and back.fps == 24
    assert json.loads((tmp_path / "out" / "layers.json").read_text())["fps"] == "24/1"


@pytest.mark.parametrize("layer", ["foreground", "background"])
def test_condition(tmp_path, layer, fast):
    source = tmp_path / "in.mov"
    if layer == "foreground":
        write_prores(source, TRUE.foreground, TRUE.alpha, 8)
    else:
        write_h264(source, TRUE.background, 8)
    assert (
        main(
            [
                "condition",
                str(source),
                "--layer",
                layer,
                *WORDS,
                "--out",
                str(tmp_path / "out"),
                *fast,
            ]
        )
        == 0
    )
    record = json.loads((tmp_path / "out" / "layers.json").read_text())
    given = ["alpha", "foreground"] if layer == "foreground" else ["background"]
    assert record["given"] == given
    made = load_layers(tmp_path / "out")
    clips = made.clips()
    assert (clips[layer] - getattr(TRUE, layer)).abs().mean() < 0.03


def test_any_layers_are_given(tmp_path, monkeypatch, fast):
    """Two files, the first layer's rate, the matte with its foreground; nothing is sampled."""
    write_h264(tmp_path / "scene.mp4", TRUE.blended, 12)
    write_h264(tmp_path / "object.mp4", TRUE.foreground, 8)
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save(tmp_path / "matte.png")
    seen = {}

    def stop(model, run, host):
        seen.update(run.given)
        raise Cancelled("seen")

    monkeypatch.setattr(commands, "make_layers", stop)
    command = ["condition", str(tmp_path / "scene.mp4"), "--layer", "blended", *WORDS, *fast]
    command += ["--given", "foreground", str(tmp_path / "object.mp4")]
    command += ["--alpha", str(tmp_path / "matte.png"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert set(seen) == {"blended", "foreground", "alpha"}
    assert seen["alpha"].min() == 1
    assert (seen["blended"] - TRUE.blended).abs().mean() < 0.03


@pytest.mark.parametrize(
    "layer, text",
    [("background", "got the layer 'background' twice"), ("dog", "got layer 'dog'")],
)
def test_layers_that_cannot_be_given_are_named(tmp_path, capsys, layer, text, fast):
    write_h264(tmp_path / "in.mp4", TRUE.background, 8)
    file = str(tmp_path / "in.mp4")
    command = ["condition", file, "--layer", "background", "--given", layer, file, *WORDS, *fast]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, precision",
    [
        ([], "auto"),
        (["--precision", "fp16"], "fp16"),
        (["--dtype", "bf16"], "bf16"),
        (["--fp8"], "fp8"),
        (["--fp8", "--steps", "3"], "fp8"),
    ],
    ids=" ".join,
)
def test_precisions_and_their_old_flags(options, precision):
    assert build_parser().parse_args(["generate", *options]).precision == precision
    assert build_parser().parse_args(["convert", "a", "b", "--dtype", "fp16"]).precision == "fp16"


def test_composite_of_files(tmp_path):
    write_prores(tmp_path / "fg.mov", TRUE.foreground, TRUE.alpha, 8)
    write_h264(tmp_path / "bg.mp4", TRUE.background, 8)
    assert (
        main(
            [
                "composite",
                str(tmp_path / "fg.mov"),
                str(tmp_path / "bg.mp4"),
                "--out",
                str(tmp_path / "x.mp4"),
            ]
        )
        == 0
    )
    assert (read_video(tmp_path / "x.mp4").colour - TRUE.blended).abs().mean() < 0.03


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".webm", ".mkv", ".MP4"])
def test_composites_are_encoded_as_their_ending_says(tmp_path, ending):
    write_prores(tmp_path / "fg.mov", TRUE.foreground[:4], TRUE.alpha[:4], 8)
    write_h264(tmp_path / "bg.mp4", TRUE.background[:4], 8)
    out = tmp_path / f"comp{ending}"
    assert (
        main(["composite", str(tmp_path / "fg.mov"), str(tmp_path / "bg.mp4"), "--out", str(out)])
        == 0
    )
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    shown = torch.tensor(np.stack(frames)).permute(0, 3, 1, 2) / 255
    assert (shown - TRUE.blended[:4]).abs().mean() < 0.03


@pytest.mark.parametrize("ending", [".txt", "", ".gif", ".exr"])
def test_an_ending_without_an_encoding_lists_those_there_are(tmp_path, capsys, ending):
    out = tmp_path / f"comp{ending}"
    assert (
        main(["composite", str(tmp_path / "fg.mov"), str(tmp_path / "bg.mp4"), "--out", str(out)])
        == 1
    )
    message = capsys.readouterr().err
    assert "expected one of .mp4, .mov, .webm, .mkv" in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_shorter_run_leaves_no_frames_of_a_longer_one(tmp_path, fast):
    write_h264(tmp_path / "in.mp4", TRUE.blended, 8)
    for frames in (16, 5):
        write_h264(tmp_path / "in.mp4", TRUE.blended[:frames], 8)
        main(["decompose", str(tmp_path / "in.mp4"), *WORDS, "--out", str(tmp_path / "out"), *fast])
    assert len(list((tmp_path / "out" / "foreground").iterdir())) == 5


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["generate"], "no prompts"),
        (["generate", *WORDS, "--steps", "0"], "1 to 200"),
        (["generate", *WORDS, "--steps", "500"], "1 to 200"),
        (["generate", *WORDS, "--model", "none.safetensors"], "is not there"),
        (["decompose", "none.mp4", *WORDS], "is not there"),
        (["verify", "none"], "no fixtures"),
        (["convert", "none.pt", "out.safetensors"], "is not there"),
        (["composite", "a.mov", "b.mp4"], "is not there"),
        (["verify", "none", "--device", "\0"], "got the device"),
        (["generate", *WORDS, "--out", "/dev/null"], "/dev/null cannot be written"),
        (["generate", *WORDS, "--out", "/dev/null/a/b"], "/dev/null/a/b cannot be written"),
        (
            ["composite", "a.mov", "b.mp4", "--out", "/dev/null/a.mp4"],
            "/dev/null cannot be written",
        ),
        (["convert", "none.pt", "/dev/null/out.safetensors"], "/dev/null cannot be written"),
        (["decompose", "none.mp4", *WORDS, "--every", "0"], "every of 1 and more"),
        (["decompose", "none.mp4", *WORDS, "--start", "-1"], "expected numbers of 0 and more"),
        (
            ["condition", "none.mp4", "--layer", "background", *WORDS, "--fps", "nan"],
            "got the frame rate nan",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_1(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("layerflow: ") and message in shown and "\n" not in shown
    assert list(tmp_path.iterdir()) == []


def test_verify_prints_a_line_per_fixture(tmp_path, capsys):
    assert main(["verify", str(GOLDEN), "--out", str(tmp_path)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(
        p.stem for p in GOLDEN.glob("*.json")
    )


PICKS = {
    "frames": (["--start", "2", "--every", "2", "--count", "4"], TRUE.blended[2:9:2]),
    "a size": (
        ["--width", "48", "--count", "2"],
        torch.nn.functional.interpolate(TRUE.blended[:2], (32, 48), mode="area"),
    ),
    "a rate": (["--fps", "4"], TRUE.blended[::2]),
}


@pytest.mark.parametrize("name", PICKS)
@pytest.mark.parametrize(
    "command",
    [["decompose"], ["condition", "--layer", "background"]],
    ids=["decompose", "condition"],
)
def test_options_of_reading(tmp_path, monkeypatch, command, name, fast):
    """What the model is given; nothing is sampled."""
    options, expected = PICKS[name]
    write_h264(tmp_path / "in.mp4", TRUE.blended, 8)
    given = []

    def stop(*arguments, **_):
        given.extend(value for value in arguments if isinstance(value, torch.Tensor))
        raise Cancelled("seen")

    monkeypatch.setattr(commands, "take_apart", stop)
    monkeypatch.setattr(
        commands, "fit_conditions", lambda model, given, host: stop(given[0].colour)
    )
    assert (
        main(
            [
                *command,
                str(tmp_path / "in.mp4"),
                *WORDS,
                *options,
                "--out",
                str(tmp_path / "out"),
                *fast,
            ]
        )
        == 1
    )
    assert given[0].shape == expected.shape
    assert (given[0] - expected).abs().mean() < 0.03


def test_a_multiplied_clip_is_made_straight_and_a_damaged_one_is_kept(tmp_path, monkeypatch, fast):
    seen = []

    def stop(model, conditions, host):
        seen.extend((one.colour, one.alpha) for one in conditions)
        raise Cancelled("seen")

    monkeypatch.setattr(commands, "fit_conditions", stop)
    write_prores(tmp_path / "in.mov", TRUE.foreground * TRUE.alpha, TRUE.alpha, 8)
    data = (tmp_path / "in.mov").read_bytes()
    command = [
        "condition",
        str(tmp_path / "in.mov"),
        "--layer",
        "foreground",
        *WORDS,
        "--out",
        str(tmp_path / "out"),
        *fast,
    ]
    assert main([*command, "--premultiplied"]) == 1
    ((colour, alpha),) = seen
    inside = (alpha > 0.5).expand(-1, 3, -1, -1)
    assert (colour - TRUE.foreground)[inside].abs().mean() < 0.01
    (tmp_path / "in.mov").write_bytes(data[: int(len(data) * 0.6)])
    assert main(command) == 1 and len(seen) == 1
    main([*command, "--keep-what-is-there"])


def test_one_matte_stands_for_all_frames(tmp_path):
    write_h264(tmp_path / "fg.mp4", TRUE.foreground, 8)
    write_h264(tmp_path / "bg.mp4", TRUE.background, 8)
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save(tmp_path / "matte.png")
    files = [str(tmp_path / name) for name in ("fg.mp4", "bg.mp4")]
    assert (
        main(
            [
                "composite",
                *files,
                "--alpha",
                str(tmp_path / "matte.png"),
                "--out",
                str(tmp_path / "x.mp4"),
            ]
        )
        == 0
    )
    assert (read_video(tmp_path / "x.mp4").colour - TRUE.foreground).abs().mean() < 0.03


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--device", "foo"], "got the device 'foo'"),
        (["--device", "meta"], "got the device 'meta'"),
        (["--device", "cuda:99"], "got the device 'cuda:99'"),
        (["--lora", "a.safetensors", "strong"], "got the strength 'strong'"),
        (["--lora", "a.safetensors", "nan"], "got the strength 'nan'"),
    ],
)
def test_options_that_cannot_be_are_named(arguments, text, tmp_path, capsys):
    assert main(["generate", *WORDS, "--out", str(tmp_path / "out"), *arguments]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "decompose", "demo"])
def test_a_place_that_cannot_be_written_is_said_before_anything_is_made(command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    source = [str(tmp_path / "missing.mp4")] if command == "decompose" else []
    for out in (
        tmp_path / "file",
        tmp_path / "file" / "below",
        tmp_path / ("x" * 300),
        Path("x" * 5000),
    ):
        assert main([command, *source, "--out", str(out)]) == 1
        told = capsys.readouterr()
        assert f"{out} cannot be written" in told.err
        assert "missing.mp4" not in told.err and "step" not in told.err and not told.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_read_is_never_written_over(tmp_path, capsys):
    write_prores(tmp_path / "foreground.mov", TRUE.foreground, TRUE.alpha, 8)
    write_h264(tmp_path / "b.mp4", TRUE.background, 8)
    before = (tmp_path / "foreground.mov").read_bytes()
    above = tmp_path / "below" / ".."
    front = str(tmp_path / "foreground.mov")
    for arguments in (
        ["composite", front, str(tmp_path / "b.mp4"), "--out", str(above / "foreground.mov")],
        ["condition", front, "--layer", "foreground", *WORDS, "--out", str(above)],
        ["decompose", front, *WORDS, "--out", str(tmp_path)],
        ["convert", front, front],
    ):
        assert main(arguments) == 1
        assert "is read and would be written over" in capsys.readouterr().err
    assert (tmp_path / "foreground.mov").read_bytes() == before


def run_apart(arguments: list[str], **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "layerflow_core.cli", *arguments]
    return subprocess.Popen(command, cwd=PACK, stderr=subprocess.PIPE, **options)


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_nobody_reads_the_output(tmp_path, fast):
    reading, writing = os.pipe()
    os.close(reading)
    process = run_apart(["generate", *WORDS, *fast, "--out", str(tmp_path)], stdout=writing)
    os.close(writing)
    told = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 141
    assert "Traceback" not in told and "BrokenPipe" not in told
    assert (tmp_path / "layers.json").is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
def test_the_output_s_disk_is_full(tmp_path, fast):
    with open("/dev/full", "wb") as full:
        process = run_apart(["generate", *WORDS, *fast, "--out", str(tmp_path)], stdout=full)
    told = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 1
    assert "layerflow: the output cannot be written" in told and "Traceback" not in told


@pytest.mark.skipif(os.name == "nt", reason="a kill there is no signal")
def test_a_polite_kill_leaves_no_partial_file(tmp_path):
    frames = torch.rand(200, 3, 64, 64)
    write_prores(tmp_path / "a.mov", frames, frames[:, :1], 8)
    write_h264(tmp_path / "b.mp4", frames, 8)
    out = tmp_path / "out"
    process = run_apart(
        ["composite", str(tmp_path / "a.mov"), str(tmp_path / "b.mp4"), "--out", str(out / "c.mp4")]
    )
    while process.poll() is None and not (out.is_dir() and list(out.iterdir())):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode in (0, 143)  # it may have been faster
    assert not list(out.glob(".*"))


def test_handlers_of_signals_are_left_as_they_were(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["verify", "nowhere"]) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_saved_layers_are_evaluated(tmp_path, capsys, fast):
    out = str(tmp_path / "made")
    assert main(["generate", *WORDS, "--out", out, *fast]) == 0
    tables = ["--out", str(tmp_path / "tables"), "--device", "cpu"]
    assert main(["evaluate", out, *tables]) == 0
    told = capsys.readouterr()
    assert "1/1 made ." in told.err
    assert "| made |" in told.out and str(tmp_path / "tables" / "evaluation.csv") in told.out
    page = json.loads((tmp_path / "tables" / "evaluation.json").read_text())
    assert page["runs"][0]["summary"]["recomposition_psnr"]["count"] == 1
    assert main(["evaluate", out, "--truth", out, "--measure", "alpha_mad", *tables]) == 0
    assert "| made | 0.000 (1) |" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "nowhere"), *tables]) == 1
    assert "nowhere is not there" in capsys.readouterr().err
