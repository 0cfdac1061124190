"""The command line: the same core as the nodes, without ComfyUI.

A command is a key of ``COMMANDS``: its help, its arguments and the function that runs it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .arguments import BASE, FIT, MODEL, PROMPTS, READING, SAVING, Argument, argument, out_folder
from .commands import (
    ALL_PARTS,
    batch,
    check,
    collect_coarse,
    composite,
    condition,
    convert,
    decompose,
    demo,
    evaluate_any,
    fetch,
    generate,
    train,
    verify,
)
from .download import SOURCES
from .editing.composite import LENGTHS, RESIZES
from .errors import LayerFlowError
from .footage import TIMINGS
from .layout import COLOUR_LAYERS, OFFICIAL_VARIANTS
from .official.conversion import DTYPES
from .official.verification import GOLDEN
from .runtime.parallel import leave_process_group
from .toy.embedded import EMBEDDED
from .toy.evaluation import SCENES, STEPS

DEMO_SEED = 7
_BY_SIGNAL = 128  # exit status of a process that a signal ended, less the signal's number
_SIGPIPE = 13  # Windows has no such signal


@dataclass(frozen=True)
class Command:
    """A row: what argparse needs, and what runs."""

    help: str
    run: Callable[[argparse.Namespace], None]
    arguments: tuple[Argument, ...]


COMMANDS: Mapping[str, Command] = {
    "demo": Command(
        "generate and decompose on the embedded model",
        demo,
        (*MODEL, *SAVING, out_folder("layerflow_out/demo")),
    ),
    "generate": Command(
        "layers from prompts",
        generate,
        (*PROMPTS, *MODEL, *SAVING, out_folder("layerflow_out/generate")),
    ),
    "decompose": Command(
        "decompose a video into layers",
        decompose,
        (
            argument("video", type=Path, help="video file or folder of images"),
            *READING,
            *PROMPTS,
            *MODEL,
            FIT,
            argument(
                "--overlap",
                type=int,
                default=4,
                help="frames shared by neighbouring windows of a long video",
            ),
            *SAVING,
            out_folder("layerflow_out/decompose"),
        ),
    ),
    "condition": Command(
        "draw the other layers for given ones",
        condition,
        (
            argument("video", type=Path, help="the given layer: video file or folder of images"),
            argument(
                "--layer",
                required=True,
                choices=COLOUR_LAYERS,
                help="which layer the video is",
            ),
            argument(
                "--given",
                nargs=2,
                action="append",
                default=[],
                metavar=("LAYER", "VIDEO"),
                help="another given layer; may be given again. With the blended scene and its "
                "foreground, a clean background is drawn",
            ),
            argument(
                "--alpha",
                type=Path,
                help="matte of the foreground, white = opaque, if the video has no alpha",
            ),
            *READING,
            *PROMPTS,
            *MODEL,
            FIT,
            argument(
                "--timing", default="first", choices=list(TIMINGS), help="which frames are taken"
            ),
            *SAVING,
            out_folder("layerflow_out/condition"),
        ),
    ),
    "batch": Command(
        "shots by the hundred from a list in CSV, JSON or TOML; what is done is not run again",
        batch,
        (
            argument("list", type=Path, metavar="SHOTS", help="see docs/batch.md"),
            argument(
                "--shots",
                default="",
                metavar="NUMBERS",
                help="only these of the list, such as 10-20 or 1,4-6; default: all",
            ),
            argument(
                "--ray",
                default="",
                metavar="auto|ADDRESS",
                help="run on a Ray cluster, one worker a GPU; auto: the one that runs here, or "
                "workers on this machine",
            ),
            argument(
                "--workers",
                type=int,
                default=0,
                help="with --ray; default: one for each GPU, else one for each machine",
            ),
            *(row for row in MODEL if "--context" not in row[0]),
            *SAVING,
            out_folder("layerflow_out/batch"),
        ),
    ),
    "composite": Command(
        "a foreground over a background",
        composite,
        (
            argument("foreground", type=Path),
            argument("background", type=Path),
            argument(
                "--alpha",
                type=Path,
                help="matte, white = opaque, if the foreground file has no alpha",
            ),
            argument("--opacity", type=float, default=1.0),
            argument(
                "--offset", type=int, nargs=2, default=(0, 0), metavar=("X", "Y"), help="pixels"
            ),
            argument("--premultiplied", action="store_true"),
            argument(
                "--resize",
                default="error",
                choices=RESIZES,
                help="other sizes: which one is resized to the other, or place without resizing",
            ),
            argument(
                "--length",
                default="error",
                choices=LENGTHS,
                help="what happens to different frame counts",
            ),
            argument(
                "--out",
                type=Path,
                default=Path("layerflow_out/composite.mp4"),
                help="file; .mp4 is H.264, .mov ProRes 422 HQ, .webm VP9, .mkv H.264",
            ),
        ),
    ),
    "convert": Command(
        "an official checkpoint to this pack's single file",
        convert,
        (
            argument("source", type=Path, help="released folder, .pt or .safetensors"),
            argument("target", type=Path),
            argument(
                "--variant",
                choices=OFFICIAL_VARIANTS,
                help="which of the eight it is, where shapes and names do not tell",
            ),
            argument(
                "--precision",
                "--dtype",
                dest="precision",
                default="bf16",
                choices=tuple(DTYPES),
                help="fp8 stores the blocks' matrices so, the rest in bf16",
            ),
            argument(
                "--parts",
                default=ALL_PARTS,
                choices=(ALL_PARTS, "network"),
                help="all: the text encoder and VAE that the file holds are taken along",
            ),
            argument(
                "--share",
                type=Path,
                metavar="MODELS",
                help="ComfyUI's models folder: text encoder and VAE are written there as files of "
                "their own, once for all checkpoints that have the same",
            ),
            argument(
                "--text-precision",
                choices=tuple(DTYPES),
                help="of the text encoder; default: as the network, or bf16 beside fp8",
            ),
            argument(
                "--merge",
                action="store_true",
                help="add the content LoRA to the weights; its strength is fixed then",
            ),
            argument(
                "--no-motion", dest="motion", action="store_false", help="leave the motion LoRA out"
            ),
            argument(
                "--latent-size",
                type=int,
                nargs=2,
                metavar=("HEIGHT", "WIDTH"),
                help="of a checkpoint that is not of 480 x 720's aspect ratio",
            ),
            *BASE,
        ),
    ),
    "download": Command(
        "released files from Hugging Face, resumed, pinned and checked",
        fetch,
        (
            argument("name", choices=tuple(SOURCES)),
            argument("models", type=Path, help="ComfyUI's models folder"),
            argument(
                "--revision",
                default="",
                help="commit, tag or branch; default: the commit of the last time, or the newest",
            ),
            argument(
                "--convert",
                action="store_true",
                help="make NAME.safetensors of it, half as large, and remove what was fetched",
            ),
        ),
    ),
    "evaluate": Command(
        "measure saved layers, with or without true ones; or a model of the procedural world with --toy",
        evaluate_any,
        (
            argument(
                "folders",
                type=Path,
                nargs="*",
                metavar="FOLDER",
                help="with saved layers (layers.json) in it or below; each is a row of the tables",
            ),
            argument(
                "--truth",
                type=Path,
                help="true layers: a set, or a folder that has sets of the same names as FOLDER",
            ),
            argument(
                "--measure",
                action="append",
                default=[],
                metavar="NAME",
                help="only this one; may be given again. docs/evaluation.md lists them",
            ),
            argument(
                "--networks",
                type=Path,
                metavar="FOLDER",
                help="where the files are of the networks that some measures look with",
            ),
            argument("--device", default="auto", help="of these networks: auto, cpu, cuda, ..."),
            argument("--again", action="store_true", help="measure also what was measured before"),
            out_folder("layerflow_out/evaluation"),
            argument(
                "--toy",
                action="store_true",
                help="measure a model of the world whose truth is known, beside trivial answers; "
                "what follows is for this",
            ),
            argument(
                "--model",
                type=Path,
                default=EMBEDDED,
                help="checkpoint of this pack's format; default: the embedded model",
            ),
            argument("--seed", type=int, default=0, help="of the scenes"),
            argument("--scenes", type=int, default=SCENES),
            argument("--steps", type=int, default=STEPS),
            argument("--json", type=Path, help="write the figures here"),
            argument(
                "--proof",
                type=Path,
                metavar="FOLDER",
                help="instead of one model, all that `python -m layerflow_core.toy.proof "
                "FOLDER` trained, on three seeds; writes proof.md there",
            ),
        ),
    ),
    "train": Command(
        "train a stage: base, motion LoRA, content LoRA; `accelerate launch -m layerflow_core.cli train` for many GPUs",
        train,
        (
            argument("config", type=Path, help="TOML file, see docs/training.md"),
            argument(
                "--check",
                action="store_true",
                help="only check model and data and print the memory that training needs",
            ),
        ),
    ),
    "coarse": Command(
        "add clips to a dataset from footage, masks and the footage without its objects",
        collect_coarse,
        (
            argument("video", type=Path, help="video file or folder of images"),
            argument(
                "--inpainted", type=Path, required=True, help="the same footage without its objects"
            ),
            argument(
                "--mask",
                type=Path,
                action="append",
                required=True,
                help="video or folder of one object's masks, white = object; may be given again",
            ),
            argument(
                "--foreground",
                action="append",
                default=[],
                help="what the object of a mask is; once for each --mask, in their order",
            ),
            argument(
                "--background",
                action="append",
                default=[],
                help="the scene without that object; once for all masks, or for each",
            ),
            argument(
                "--blended",
                action="append",
                default=[],
                help="the whole scene; once for all masks, or for each",
            ),
            argument("--out", type=Path, required=True, help="dataset folder"),
        ),
    ),
    "check": Command(
        "what this machine does with the model: errors, memory and time of every plan, as a report for issues",
        check,
        (
            argument("--minutes", type=float, default=10.0, help="after which nothing more begins"),
            argument(
                "--model", type=Path, help="a checkpoint of your own, of which a short run is made"
            ),
            *BASE,
            argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..."),
            argument(
                "--out",
                type=Path,
                default=Path("layerflow_out/check"),
                help="the report's name; it is written as .md and .json",
            ),
        ),
    ),
    "verify": Command(
        "compare with recorded outputs of the official code",
        verify,
        (
            argument(
                "folder",
                type=Path,
                nargs="?",
                default=GOLDEN,
                help="recordings; default: those that come with this package",
            ),
            argument("--out", type=Path, help="write own results here"),
            argument("--device", default="cpu", help="where the networks compute, such as cuda"),
        ),
    ),
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="layerflow", description="Layered video: generate, decompose, condition, composite."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.help,
            description=command.help,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        for names, options in command.arguments:
            sub.add_argument(*names, **options)
    commands.choices["demo"].set_defaults(seed=DEMO_SEED)
    return parser


class _LogFormat(logging.Formatter):
    """Warnings say that they are some; what is only told does not."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        return f"warning: {message}" if record.levelno >= logging.WARNING else message


def _show_log() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormat())
    logging.basicConfig(handlers=[handler])
    logging.getLogger(__package__).setLevel(logging.INFO)


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    """Inside this context a polite kill lets partial files be removed, as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(_BY_SIGNAL + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave_closed_pipe() -> int:
    """Nobody reads on, as after ``| head -1``; the interpreter must not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BY_SIGNAL + _SIGPIPE


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, 1 or its own for a LayerFlowError (its message on stderr), 130 for Ctrl-C, 141
    where nobody reads the output.
    """
    options = build_parser().parse_args(arguments)
    _show_log()
    try:
        with _ending_by_signal():
            COMMANDS[options.command].run(options)
    except LayerFlowError as error:
        print(f"layerflow: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        return _leave_closed_pipe()
    except KeyboardInterrupt:
        print("layerflow: stopped", file=sys.stderr)
        return 130
    finally:
        leave_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
