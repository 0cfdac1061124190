"""The README's terminal examples, run as they are printed, in their order."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[1]
# Commands that want files nobody has without a download.
NEEDS_A_CHECKPOINT = ("convert", "download")


def printed_commands() -> list[list[str]]:
    lines = re.findall(r"^    layerflow (.+)$", (PACK / "README.md").read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "layerflow_core.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PACK)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


EXAMPLES = [words for words in printed_commands() if words[0] not in NEEDS_A_CHECKPOINT]
OTHERS = [words for words in printed_commands() if words[0] in NEEDS_A_CHECKPOINT]


@pytest.fixture(scope="module")
def run_example(tmp_path_factory):
    """The number of an example -> how it ended, and its folder; those before it run first, once."""
    folder = tmp_path_factory.mktemp("readme")
    ended = []

    def run_up_to(number: int) -> tuple[subprocess.CompletedProcess, Path]:
        for words in EXAMPLES[len(ended) : number + 1]:
            ended.append(run(words, folder))
        return ended[number], folder

    return run_up_to


def test_there_is_an_example_of_each_task():
    named = [words[0] for words in EXAMPLES]
    assert named == ["generate", "decompose", "condition", "composite"]


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=lambda number: EXAMPLES[number][0])
def test_the_terminal_examples_run_as_printed(run_example, number):
    done, folder = run_example(number)
    assert done.returncode == 0, done.stderr
    assert "warning:" not in done.stderr, done.stderr
    written = done.stdout.split()
    assert written and all((folder / path).exists() for path in written)


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_the_other_examples_are_understood(words):
    from layerflow_core.cli import build_parser

    assert build_parser().parse_args(words).command == words[0]


def test_what_the_embedded_model_cannot_know_is_said_in_one_line_each(tmp_path):
    import torch

    from layerflow_core.video.streams.encodings import write_h264

    noise = torch.rand(16, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    write_h264(tmp_path / "dog.mp4", noise, 8)
    done = run(
        ["decompose", "dog.mp4", "--foreground", "a dog", "--steps", "1", "--out", "x"], tmp_path
    )
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if "warning: " in line]
    assert len(warnings) == 2
    assert any('does not know "dog"' in line for line in warnings)
    assert any("is unlike anything" in line and "DownloadLayerFlow" in line for line in warnings)
