"""Arguments that several commands share, as rows for argparse."""

from __future__ import annotations

import argparse
from pathlib import Path

from .layer_files.saving import FORMATS, OPAQUE, SaveOptions
from .layer_files.stored_pixels import ALPHA_KINDS
from .layout import BACKGROUND, BLENDED, FOREGROUND
from .model.kernels import AUTO, KERNELS
from .runtime.precision import AUTO_PRECISION, PRECISIONS
from .sampling.guidance import GUIDANCES
from .sampling.solver import SOLVERS
from .toy.embedded import EMBEDDED
from .video.frame_selection import AUTO as AUTO_COLOURS
from .video.frame_selection import COLOURS
from .video.frames import FITS

Argument = tuple[tuple[str, ...], dict]


def argument(*names: str, **options) -> Argument:
    """Names and options of ``add_argument``."""
    return names, options


BASE = (
    argument(
        "--base",
        type=Path,
        metavar="FOLDER",
        help="diffusers CogVideoX-2b folder, for text encoder, tokenizer and VAE",
    ),
    argument("--text-encoder", type=Path, help="T5 as a single file or a folder"),
    argument("--tokenizer", type=Path, help="T5's tokenizer.json, or a folder with it"),
    argument("--vae", type=Path, help="CogVideoX VAE as a single file or a folder"),
)
MODEL = (
    argument(
        "--model",
        type=Path,
        default=EMBEDDED,
        help="checkpoint, of this pack's format or an official one; default: the embedded model",
    ),
    *BASE,
    argument(
        "--lora",
        nargs=2,
        action="append",
        default=[],
        metavar=("FILE", "STRENGTH"),
        help="a LoRA of `layerflow train` or one made for CogVideoX-2B; may be given again",
    ),
    argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..."),
    argument(
        "--precision",
        "--dtype",
        dest="precision",
        default=AUTO_PRECISION,
        choices=PRECISIONS,
        help="auto: bf16 on a GPU that has it, else fp16 where that is fast, else fp32. fp8: the "
        "transformer's matrices in 8 bits, computing in bf16; half the memory, some precision. "
        "fp8_fast: its products in 8 bits too, on NVIDIA cards from Ada (RTX 40) on",
    ),
    argument(
        "--fp8",
        dest="precision",
        action="store_const",
        const="fp8",
        default=argparse.SUPPRESS,
        help="the same as --precision fp8",
    ),
    argument("--seed", type=int, default=0, help="same seed, same result"),
    argument("--steps", type=int, help="sampling steps, 1 to 200; default: the checkpoint's own"),
    argument("--guidance", choices=list(GUIDANCES)),
    argument("--scale", type=float, help="guidance scale"),
    argument("--solver", choices=list(SOLVERS)),
    argument(
        "--attention",
        default=AUTO,
        choices=(AUTO, *KERNELS),
        help="kernel of attention; sage works in 8 bits and is not exact",
    ),
    argument(
        "--allow-8bit-attention",
        dest="allow_8bit",
        action="store_true",
        help="auto takes SageAttention where it is installed: faster, not exact",
    ),
    argument(
        "--context",
        type=int,
        metavar="N",
        help="under torchrun: split the sequence over N processes; default: the two branches of guidance first",
    ),
    argument("--compile", action="store_true", help="torch.compile: slower to start, faster steps"),
    argument(
        "--step-cache",
        type=float,
        help="0: every step whole; e.g. 0.1 skips most of a step whose layers change by less. Not exact",
    ),
    argument(
        "--guidance-margin",
        type=float,
        help="0: exact; e.g. 0.1 leaves out the unconditional branch where guidance weighs less than 1.1",
    ),
)
_PROMPTS = {
    FOREGROUND: "what the foreground shows",
    BACKGROUND: "what the background shows",
    BLENDED: "the whole scene",
}
PROMPTS = tuple(argument(f"--{layer}", default="", help=text) for layer, text in _PROMPTS.items())
READING = (
    argument("--start", type=int, default=0, help="first frame"),
    argument("--count", type=int, default=0, help="frames at most; 0: all"),
    argument("--every", type=int, default=1, help="every N-th frame"),
    argument(
        "--width",
        type=int,
        default=0,
        help="to be resized to; 0: as it is, or in proportion to --height",
    ),
    argument(
        "--height",
        type=int,
        default=0,
        help="to be resized to; 0: as it is, or in proportion to --width",
    ),
    argument(
        "--fps",
        type=float,
        default=0,
        help="resample to this rate by the frames' own times; 0: all frames as they come",
    ),
    argument(
        "--colours",
        default=AUTO_COLOURS,
        choices=COLOURS,
        help="matrix of YUV video; auto: as tagged, else BT.709 from 720 lines on",
    ),
    argument(
        "--premultiplied", action="store_true", help="the file's colour is multiplied by its alpha"
    ),
    argument(
        "--keep-what-is-there",
        action="store_true",
        help="of a damaged or truncated file take the frames that can be read",
    ),
)
SAVING = (
    argument(
        "--format",
        default=SaveOptions.format,
        choices=FORMATS,
        help="of the foregrounds, with alpha; OpenEXR holds every layer of a frame, PSD of one frame",
    ),
    argument(
        "--opaque",
        default=SaveOptions.opaque,
        choices=list(OPAQUE),
        help="of all other layers, unless --format holds them",
    ),
    argument(
        "--alpha-kind",
        default=SaveOptions.alpha,
        choices=ALPHA_KINDS,
        help="colour in the foregrounds' files; premultiplied is what Nuke's Merge expects",
    ),
    argument("--frame", type=int, default=SaveOptions.frame, help="of a PSD"),
)
FIT = argument(
    "--fit", default="pad", choices=FITS, help="how images of another size reach the model's"
)


def out_folder(default: str) -> Argument:
    """``--out``, a folder."""
    return argument(
        "--out", type=Path, default=Path(default), help=f"output folder; default: {default}"
    )
