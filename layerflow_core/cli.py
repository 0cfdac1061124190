"""The command line: the same core as the nodes, without ComfyUI.

A command is a row of ``COMMANDS``: its help, its arguments and the function that runs it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from .composite import LENGTHS, RESIZES, Placement, composite_over
from .devices import PlainDevices
from .download import SOURCES, download
from .errors import LayerFlowError, SamplingError, VideoFileError
from .footage import TIMINGS, as_given, fit_given
from .footage import decompose as take_apart
from .latent_store import LatentStore
from .layer_files.loading import matte_of
from .layers import LayerVideo
from .layout import BACKGROUND, BLENDED, FOREGROUND, OFFICIAL_VARIANTS
from .model.attention import AUTO, KERNELS
from .names import clean_name
from .options import check_output_file, check_output_folder, read_device, read_lora_pair
from .output import run_record, write_layers
from .parallel import join_team, leave_team
from .pipeline import Host, Run, SilentObserver, make_layers
from .sampling.guidance import GUIDANCES
from .sampling.sampler import SamplerSettings
from .sampling.solver import SOLVERS
from .toy.embedded import EMBEDDED
from .toy.evaluation import SCENES, STEPS, Plan, evaluate, write_figures
from .video.frames import FITS
from .video.pick import AUTO as AUTO_COLOURS
from .video.pick import COLOURS, Pick

DEMO_SEED = 7
_BY_SIGNAL = 128  # exit status of a process that a signal ended, less the signal's number
_SIGPIPE = 13  # Windows has no such signal
_SAMPLER = tuple(field.name for field in fields(SamplerSettings))


class BarObserver:
    """Progress as a tqdm bar on stderr."""

    def __init__(self) -> None:
        self._bar = None

    def stage(self, name: str) -> None:
        if self._bar is not None:
            self._bar.set_description(name)

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, desc="sample", unit="step")
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()


def _load(options: argparse.Namespace):
    """The model, and the host of its runs."""
    from .model.conversion import read_any
    from .model.inference import Computing, computing_with, ready
    from .model.loading import assemble

    loras = [read_lora_pair(*pair) for pair in options.lora]
    device = read_device(options.device)
    team = join_team(device, options.context)
    dtype = torch.float32 if device.type == "cpu" and not options.fp8 else torch.bfloat16
    model = ready(assemble(read_any(options.model), dtype, options.model, _base(options)), options.fp8)
    model = _with_lora(model, loras)
    model = computing_with(model, Computing(options.attention, options.compile), device)
    alone = LatentStore(options.out / ".latents") if team.is_first else None
    return model, Host(BarObserver() if team.is_first else SilentObserver(), PlainDevices(device), alone, team)


def _with_lora(model, named: Sequence[tuple[Path, float]]):
    from .model.inference import ready
    from .model.lora_file import attach_lora, is_own_lora, read_lora
    from .model.plain_lora import add_plain_lora

    own = {path: strength for path, strength in named if is_own_lora(path)}
    for path, strength in named:
        model = model if path in own else add_plain_lora(model, path, strength)
    if own:
        model = attach_lora(model, own, **{read_lora(path).adapter: strength for path, strength in own.items()})
    return ready(model)


def _settings(options: argparse.Namespace, model, *given: str) -> SamplerSettings:
    chosen = {k: v for k in _SAMPLER if (v := getattr(options, k)) is not None}
    return replace(SamplerSettings(**model.config.sampler_for(given)), **chosen)


def _prompts(options: argparse.Namespace) -> dict[str, str]:
    given = {name: getattr(options, name) for name in (FOREGROUND, BACKGROUND, BLENDED)}
    return {name: text for name, text in given.items() if text}


def _say(text: str, end: str = "\n") -> None:
    """What a command is asked for; raises VideoFileError where it cannot be written. A closed pipe stays one."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VideoFileError(f"the output cannot be written: {error}") from error


def _finish(host: Host, out: Path, layers: LayerVideo, record: Mapping[str, object], fps: Fraction | None = None) -> None:
    if host.team.is_first:
        _say("\n".join(str(path) for path in write_layers(out, layers, record, fps)))


def generate(options: argparse.Namespace) -> None:
    check_output_folder(options.out, ())
    model, host = _load(options)
    run = Run(_prompts(options), {}, _settings(options, model), options.seed)
    _finish(host, options.out, make_layers(model, run, host), run_record(model, run, "generate"))


def _pick(options: argparse.Namespace) -> Pick:
    return Pick(**{field.name: getattr(options, field.name) for field in fields(Pick)})


def decompose(options: argparse.Namespace) -> None:
    from .video.files import read_video

    check_output_folder(options.out, [options.video])
    footage = read_video(options.video, pick=_pick(options))
    model, host = _load(options)
    run = Run(_prompts(options), {}, _settings(options, model, BLENDED), options.seed)
    layers = take_apart(model, footage.colour, run, float(footage.fps), options.fit, options.overlap, host)
    _finish(host, options.out, layers, run_record(model, run, "decompose"), footage.fps)


def condition(options: argparse.Namespace) -> None:
    from .video.files import read_with_matte

    check_output_folder(options.out, filter(None, [options.video, options.alpha]))
    footage = read_with_matte(options.video, options.alpha, _pick(options))
    model, host = _load(options)
    layers = as_given(model.config.layout, options.layer, footage.colour, footage.alpha)
    given = fit_given(model, layers, options.fit, options.timing, host)
    run = Run(_prompts(options), given, _settings(options, model, *given), options.seed)
    _finish(host, options.out, make_layers(model, run, host), run_record(model, run, f"condition on {options.layer}"), footage.fps)


def composite(options: argparse.Namespace) -> None:
    from .video.encodings import check_suffix, write_opaque
    from .video.files import read_video

    check_suffix(options.out)
    check_output_file(options.out, filter(None, [options.foreground, options.background, options.alpha]))
    foreground, background = read_video(options.foreground), read_video(options.background)
    alpha = matte_of(read_video(options.alpha)) if options.alpha else foreground.alpha
    if alpha is None:
        raise VideoFileError(f"{options.foreground} has no alpha, expected one; name its matte with --alpha")
    placement = Placement(options.opacity, options.offset[0], options.offset[1], options.premultiplied, options.resize, options.length)
    write_opaque(options.out, composite_over(foreground.colour, alpha, background.colour, placement), background.fps)
    _say(str(options.out))


def convert(options: argparse.Namespace) -> None:
    from .model.conversion import DTYPES, Conversion, convert_official

    check_output_file(options.target, [options.source])
    size = tuple(options.latent_size) if options.latent_size else None
    how = Conversion(options.variant, DTYPES[options.dtype], options.merge, options.motion, size, base=_base(options))
    _say(f"{options.target}  sha256 {convert_official(options.source, options.target, how)}")


def _base(options: argparse.Namespace):
    """The parts that are named one by one, before those of ``--base``."""
    from .model.base_parts import BaseParts

    folder = BaseParts.in_folder(options.base) if options.base else BaseParts()
    named = {name: value for name in ("text_encoder", "tokenizer", "vae") if (value := getattr(options, name))}
    return replace(folder, **named)


def fetch(options: argparse.Namespace) -> None:
    _say("\n".join(str(path) for path in download(options.name, options.models, options.revision, lambda file, size: _say(f"{file}, {size / 1e9:.1f} GB"))))


def verify(options: argparse.Namespace) -> None:
    from .verification import verify_folder

    for verdict in verify_folder(options.folder, options.out, read_device(options.device)):
        _say(str(verdict))


def demo(options: argparse.Namespace) -> None:
    """Generates a scene from prompts and takes another one apart, on the embedded model."""
    from .toy.world import draw_scene, render

    check_output_folder(options.out, ())
    model, host = _load(options)
    scene, footage = draw_scene(options.seed, held_out=True), draw_scene(options.seed + 1, held_out=True)
    _say(f"generate: {scene.blended_prompt}")
    run = Run(scene.prompts, {}, _settings(options, model), options.seed)
    _finish(host, options.out / "generate", make_layers(model, run, host), run_record(model, run, "generate"))
    _say(f"decompose: {footage.blended_prompt}")
    run = Run({k: v for k, v in footage.prompts.items() if k != BLENDED}, {}, _settings(options, model, BLENDED), options.seed)
    layers = take_apart(model, render(footage).blended, run, host=host)
    _finish(host, options.out / "decompose", layers, run_record(model, run, "decompose"))


def evaluate_toy(options: argparse.Namespace) -> None:
    def report(done: int, total: int) -> None:
        print(f"\rscene {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    if not options.toy:
        raise SamplingError("there is truth for the procedural world alone: say --toy")
    if options.proof:
        from .toy.proof_table import SEEDS, measure_proof

        _say(measure_proof(options.proof, range(options.seed, options.seed + SEEDS), options.scenes, options.steps), end="")
        return
    if options.json:
        check_output_file(options.json, [options.model])
    figures = evaluate(Plan(options.model, options.seed, options.scenes, options.steps), report)
    if options.json:
        write_figures(figures, options.json)
    _say(json.dumps(figures, indent=2))


def train(options: argparse.Namespace) -> None:
    from .training.config import read_config
    from .training.run import run_training

    result = run_training(read_config(options.config), options.check)
    if result is not None:
        _say(str(result))


def collect_coarse(options: argparse.Namespace) -> None:
    from .training.data.clip_folder import write_clip
    from .training.data.coarse import coarse_clips, match_prompts, read_masks
    from .video.files import read_video

    masks = read_masks(options.mask)
    prompts = match_prompts(masks, options.foreground, options.background, options.blended)
    footage, background = read_video(options.video), read_video(options.inpainted)
    name = clean_name(options.video.stem)
    clips, refused = coarse_clips(name, footage.colour, background.colour, masks, prompts)
    for refusal in refused:
        print(f"refused {refusal.mask}: {refusal.reason}", file=sys.stderr)
    for clip in clips:
        _say(str(write_clip(options.out, replace(clip, fps=footage.fps))))


@dataclass(frozen=True)
class Command:
    """A row: what argparse needs, and what runs."""

    help: str
    run: Callable[[argparse.Namespace], None]
    arguments: tuple[tuple[tuple[str, ...], dict], ...]


def _argument(*names: str, **options) -> tuple[tuple[str, ...], dict]:
    return names, options


_BASE = (
    _argument("--base", type=Path, metavar="FOLDER", help="diffusers CogVideoX-2b folder, for text encoder, tokenizer and VAE"),
    _argument("--text-encoder", type=Path, help="T5 as a single file or a folder"),
    _argument("--tokenizer", type=Path, help="T5's tokenizer.json, or a folder with it"),
    _argument("--vae", type=Path, help="CogVideoX VAE as a single file or a folder"),
)
_MODEL = (
    _argument("--model", type=Path, default=EMBEDDED, help="checkpoint, of this pack's format or an official one; default: the embedded model"),
    *_BASE,
    _argument("--lora", nargs=2, action="append", default=[], metavar=("FILE", "STRENGTH"),
              help="a LoRA of `layerflow train` or one made for CogVideoX-2B; may be given again"),
    _argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..."),
    _argument("--fp8", action="store_true", help="the transformer's matrices in 8 bits, computing in bf16: half the memory, some precision"),
    _argument("--seed", type=int, default=0, help="same seed, same result"),
    _argument("--steps", type=int, help="sampling steps, 1 to 200; default: the checkpoint's own"),
    _argument("--guidance", choices=list(GUIDANCES)),
    _argument("--scale", type=float, help="guidance scale"),
    _argument("--solver", choices=list(SOLVERS)),
    _argument("--attention", default=AUTO, choices=(AUTO, *KERNELS), help="kernel of attention; sage works in 8 bits and is not exact"),
    _argument("--context", type=int, metavar="N", help="under torchrun: split the sequence over N processes; default: the two branches of guidance first"),
    _argument("--compile", action="store_true", help="torch.compile: slower to start, faster steps"),
    _argument("--step-cache", type=float, help="0: every step whole; e.g. 0.1 skips most of a step whose layers change by less. Not exact"),
    _argument("--guidance-margin", type=float, help="0: exact; e.g. 0.1 leaves out the unconditional branch where guidance weighs less than 1.1"),
)
_PROMPTS = (
    _argument("--foreground", default="", help="what the foreground shows"),
    _argument("--background", default="", help="what the background shows"),
    _argument("--blended", default="", help="the whole scene"),
)
_READING = (
    _argument("--start", type=int, default=0, help="first frame"),
    _argument("--count", type=int, default=0, help="frames at most; 0: all"),
    _argument("--every", type=int, default=1, help="one in so many frames"),
    _argument("--width", type=int, default=0, help="to be resized to; 0: as it is, or in proportion to --height"),
    _argument("--height", type=int, default=0, help="to be resized to; 0: as it is, or in proportion to --width"),
    _argument("--fps", type=float, default=0, help="resample to this rate by the frames' own times; 0: all frames as they come"),
    _argument("--colours", default=AUTO_COLOURS, choices=COLOURS, help="matrix of YUV video; auto: as tagged, else BT.709 from 720 lines on"),
    _argument("--premultiplied", action="store_true", help="the file's colour is multiplied by its alpha"),
    _argument("--keep-what-is-there", action="store_true", help="of a damaged or truncated file take the frames that can be read"),
)
_FIT = _argument("--fit", default="pad", choices=FITS, help="how pictures of another size reach the model's")


def _out(default: str) -> tuple[tuple[str, ...], dict]:
    return _argument("--out", type=Path, default=Path(default), help=f"output folder; default: {default}")


COMMANDS: Mapping[str, Command] = {
    "demo": Command("generate and decompose on the embedded model", demo, (*_MODEL, _out("layerflow_out/demo"))),
    "generate": Command("layers from prompts", generate, (*_PROMPTS, *_MODEL, _out("layerflow_out/generate"))),
    "decompose": Command("take a video apart", decompose, (
        _argument("video", type=Path, help="video file or folder of pictures"), *_READING, *_PROMPTS, *_MODEL, _FIT,
        _argument("--overlap", type=int, default=4, help="frames shared by neighbouring windows of a long video"),
        _out("layerflow_out/decompose"),
    )),
    "condition": Command("draw the other layers for a given one", condition, (
        _argument("video", type=Path, help="the given layer: video file or folder of pictures"),
        _argument("--layer", required=True, choices=(FOREGROUND, BACKGROUND), help="which layer the video is"),
        _argument("--alpha", type=Path, help="matte of the foreground, white = opaque, if the video has no alpha"),
        *_READING, *_PROMPTS, *_MODEL, _FIT,
        _argument("--timing", default="first", choices=list(TIMINGS), help="which frames are taken"),
        _out("layerflow_out/condition"),
    )),
    "composite": Command("a foreground over a background", composite, (
        _argument("foreground", type=Path), _argument("background", type=Path),
        _argument("--alpha", type=Path, help="matte, white = opaque, if the foreground file has no alpha"),
        _argument("--opacity", type=float, default=1.0), _argument("--offset", type=int, nargs=2, default=(0, 0), metavar=("X", "Y"), help="pixels"),
        _argument("--premultiplied", action="store_true"),
        _argument("--resize", default="error", choices=RESIZES, help="other sizes: which one is resized to the other, or place without resizing"),
        _argument("--length", default="error", choices=LENGTHS, help="what happens to different frame counts"),
        _argument("--out", type=Path, default=Path("layerflow_out/composite.mp4"), help="file; .mp4 is H.264, .mov ProRes 422 HQ, .webm VP9, .mkv H.264"),
    )),
    "convert": Command("an official checkpoint to this pack's single file", convert, (
        _argument("source", type=Path, help="released folder, .pt or .safetensors"), _argument("target", type=Path),
        _argument("--variant", choices=OFFICIAL_VARIANTS, help="which of the eight it is, where shapes and names do not tell"),
        _argument("--dtype", default="bf16", choices=("bf16", "fp16", "fp32", "fp8"), help="fp8 stores the blocks' matrices so, the rest in bf16"),
        _argument("--merge", action="store_true", help="add the content LoRA to the weights; its strength is fixed then"),
        _argument("--no-motion", dest="motion", action="store_false", help="leave the motion LoRA out"),
        _argument("--latent-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of a checkpoint that is not of 480 x 720's aspect ratio"),
        *_BASE,
    )),
    "download": Command("released files from Hugging Face, resumed, pinned and checked", fetch, (
        _argument("name", choices=tuple(SOURCES)),
        _argument("models", type=Path, help="ComfyUI's models folder"),
        _argument("--revision", default="", help="commit, tag or branch; default: the commit of the last time, or the newest"),
    )),
    "evaluate": Command("measure a model of the procedural world on held-out scenes, beside trivial answers", evaluate_toy, (
        _argument("--toy", action="store_true", help="the world whose truth is known; the only one yet"),
        _argument("--model", type=Path, default=EMBEDDED, help="checkpoint of this pack's format; default: the embedded model"),
        _argument("--seed", type=int, default=0, help="of the scenes"),
        _argument("--scenes", type=int, default=SCENES), _argument("--steps", type=int, default=STEPS),
        _argument("--json", type=Path, help="write the figures here"),
        _argument("--proof", type=Path, metavar="FOLDER",
                  help="instead of one model, all that `python -m layerflow_core.toy.proof FOLDER` trained, on three seeds; writes proof.md there"),
    )),
    "train": Command("train a stage: base, motion LoRA, content LoRA; `accelerate launch -m layerflow_core.cli train` for many GPUs", train, (
        _argument("config", type=Path, help="TOML file, see docs/training.md"),
        _argument("--check", action="store_true", help="only check model and data and print the memory that training needs"),
    )),
    "coarse": Command("add clips to a dataset from footage, masks and the footage without its objects", collect_coarse, (
        _argument("video", type=Path, help="video file or folder of pictures"),
        _argument("--inpainted", type=Path, required=True, help="the same footage without its objects"),
        _argument("--mask", type=Path, action="append", required=True, help="video or folder of one object's masks, white = object; may be given again"),
        _argument("--foreground", action="append", default=[], help="what the object of a mask is; once for each --mask, in their order"),
        _argument("--background", action="append", default=[], help="the scene without that object; once for all masks, or for each"),
        _argument("--blended", action="append", default=[], help="the whole scene; once for all masks, or for each"),
        _argument("--out", type=Path, required=True, help="dataset folder"),
    )),
    "verify": Command("compare with recorded outputs of the official code", verify, (
        _argument("folder", type=Path), _argument("--out", type=Path, help="write own results here"),
        _argument("--device", default="cpu", help="where the networks compute, such as cuda"),
    )),
}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="layerflow", description="Layered video: generate, decompose, condition, composite.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
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
    """Exit status 0, 1 for a LayerFlowError (its message on stderr), 130 for Ctrl-C, 141 where nobody reads the output."""
    options = build_parser().parse_args(arguments)
    _show_log()
    try:
        with _ending_by_signal():
            COMMANDS[options.command].run(options)
    except LayerFlowError as error:
        print(f"layerflow: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return _leave_closed_pipe()
    except KeyboardInterrupt:
        print("layerflow: stopped", file=sys.stderr)
        return 130
    finally:
        leave_team()
    return 0


if __name__ == "__main__":
    sys.exit(main())
