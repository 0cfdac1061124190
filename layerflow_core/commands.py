"""What each command of the command line does.

A command takes its options as argparse gives them, checks what cannot be first, and prints the files it wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from .download import convert_download, download
from .editing.composite import Placement, composite_over
from .errors import DatasetError, EvaluationError, SamplingError, VideoFileError
from .footage import Condition, add_condition, fit_conditions
from .footage import decompose as take_apart
from .inference import ComputeOptions, LoadOptions, load_for_inference
from .layer_files.extras import EXTRAS, FRAMES
from .layer_files.loading import matte_of
from .layer_files.record import RECORD
from .layer_files.saving import SaveOptions, replace_layers
from .layers import LayerVideo
from .layout import BLENDED, COLOUR_LAYERS, FOREGROUND
from .model.loading import LayerFlowModel
from .names import clean_name
from .options import (
    check_output_file,
    check_output_folder,
    read_device,
    read_lora_pair,
    read_minutes,
)
from .pipeline import Host, Run, SilentObserver, make_layers
from .run_record import describe_run
from .runtime.devices import OffloadingDevices
from .runtime.latent_store import LatentStore
from .runtime.parallel import join_process_group
from .sampling.sampler import SamplerSettings
from .toy.evaluation import EvaluationPlan, evaluate, write_figures
from .video.frame_selection import FrameSelection

ALL_PARTS = "all"
_SAMPLER = tuple(field.name for field in fields(SamplerSettings))


class BarObserver:
    """Progress as a tqdm bar on stderr."""

    def __init__(self) -> None:
        self._bar = None

    def stage(self, name: str) -> None:
        if self._bar is not None:
            self._bar.set_description(name)

    def pause(self) -> None:
        pass

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, desc="sample", unit="step")
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()


def _load(options: argparse.Namespace) -> tuple[LayerFlowModel, Host]:
    """The model, and the host of its runs."""
    loras = [read_lora_pair(*pair) for pair in options.lora]
    device = read_device(options.device)
    group = join_process_group(device, options.context)
    base = _parts(options)
    compute = ComputeOptions(options.attention, options.compile, options.allow_8bit)
    how = LoadOptions(options.precision, loras=loras, compute=compute)
    model = load_for_inference(options.model, device, how, lambda config: base)
    observer = BarObserver() if group.is_first else SilentObserver()
    latents = LatentStore(options.out / ".latents") if group.is_first else None
    return model, Host(observer, OffloadingDevices(device), latents, group)


def _settings(options: argparse.Namespace, model: LayerFlowModel, *given: str) -> SamplerSettings:
    chosen = {k: v for k in _SAMPLER if (v := getattr(options, k)) is not None}
    return replace(SamplerSettings(**model.sampler_for(given)), **chosen)


def _prompts(options: argparse.Namespace) -> dict[str, str]:
    texts = {name: getattr(options, name) for name in COLOUR_LAYERS}
    return {name: text for name, text in texts.items() if text}


def _say(text: str, end: str = "\n") -> None:
    """What a command is asked for; raises VideoFileError where it cannot be written. A closed pipe stays one."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VideoFileError(f"the output cannot be written: {error}") from error


def _saving(options: argparse.Namespace) -> SaveOptions:
    """How layers are saved: as the node does, with all that helps to look at them beside."""
    how = SaveOptions(options.format, options.opaque, options.alpha_kind, options.frame)
    extras = [name for name in EXTRAS if name != FRAMES or how.is_video]
    return replace(how, extras=tuple(extras))


def _finish(
    host: Host,
    options: argparse.Namespace,
    layers: LayerVideo,
    facts: Mapping[str, object],
    fps: Fraction | None = None,
    below: str = "",
) -> None:
    """Save what a run made.

    Args:
        below: a folder within that of the output.
    """
    if not host.group.is_first:
        return
    written = replace_layers(options.out / below, layers, _saving(options), fps, facts=facts)
    _say("\n".join(str(path) for path in written if path.name != RECORD))


def generate(options: argparse.Namespace) -> None:
    check_output_folder(options.out, ())
    model, host = _load(options)
    run = Run(_prompts(options), {}, _settings(options, model), options.seed)
    _finish(host, options, make_layers(model, run, host), describe_run(model, run, "generate"))


def _pick(options: argparse.Namespace) -> FrameSelection:
    return FrameSelection(
        **{field.name: getattr(options, field.name) for field in fields(FrameSelection)}
    )


def decompose(options: argparse.Namespace) -> None:
    from .video.files import read_video

    check_output_folder(options.out, [options.video])
    footage = read_video(options.video, selection=_pick(options))
    model, host = _load(options)
    run = Run(_prompts(options), {}, _settings(options, model, BLENDED), options.seed)
    layers = take_apart(
        model, footage.colour, run, float(footage.fps), options.fit, options.overlap, host
    )
    _finish(host, options, layers, describe_run(model, run, "decompose"), footage.fps)


def condition(options: argparse.Namespace) -> None:
    files = [(options.layer, options.video)]
    files += [(layer, Path(file)) for layer, file in options.given]
    read = [path for _, path in files]
    check_output_folder(options.out, filter(None, [*read, options.alpha]))
    conditions, fps = _read_conditions(options, files)
    model, host = _load(options)
    given = fit_conditions(model, conditions, host)
    run = Run(_prompts(options), given, _settings(options, model, *given), options.seed)
    task = f"condition on {' and '.join(layer for layer, _ in files)}"
    made = make_layers(model, run, host)
    _finish(host, options, made, describe_run(model, run, task), fps)


def _read_conditions(
    options: argparse.Namespace, files: Sequence[tuple[str, Path]]
) -> tuple[tuple[Condition, ...], Fraction]:
    """Given layers from their files, and the rate of the first."""
    from .video.files import read_with_matte

    conditions: tuple[Condition, ...] = ()
    rates = []
    for layer, path in files:
        matte = options.alpha if layer == FOREGROUND else None
        footage = read_with_matte(path, matte, _pick(options))
        one = Condition(layer, footage.colour, footage.alpha, options.fit, options.timing)
        conditions = add_condition(conditions, one)
        rates.append(footage.fps)
    return conditions, rates[0]


def batch(options: argparse.Namespace) -> None:
    from .batch.running import Batch, run_batch
    from .batch.shots import ShotFields
    from .batch.worker import ModelOptions

    check_output_folder(options.out, [options.list])
    options.model = options.model.absolute()
    named = {field.name for field in fields(ShotFields)} & set(vars(options))
    defaults = {name: value for name in named if (value := getattr(options, name)) is not None}
    loras = [read_lora_pair(*pair) for pair in options.lora]
    compute = ComputeOptions(options.attention, options.compile, options.allow_8bit)
    how = LoadOptions(options.precision, loras=loras, compute=compute)
    model = ModelOptions(options.device, how, _parts(options))
    where = (options.ray, options.workers)
    run_batch(Batch(options.list, options.out, defaults, options.shots, model, *where), _say)


def composite(options: argparse.Namespace) -> None:
    from .video.files import read_video
    from .video.streams.encodings import check_suffix, write_opaque

    check_suffix(options.out)
    check_output_file(
        options.out, filter(None, [options.foreground, options.background, options.alpha])
    )
    foreground = read_video(options.foreground)
    background = read_video(options.background)
    alpha = matte_of(read_video(options.alpha)) if options.alpha else foreground.alpha
    if alpha is None:
        raise VideoFileError(
            f"{options.foreground} has no alpha, expected one; name its matte with --alpha"
        )
    placement = Placement(
        options.opacity,
        options.offset[0],
        options.offset[1],
        options.premultiplied,
        options.resize,
        options.length,
    )
    write_opaque(
        options.out,
        composite_over(foreground.colour, alpha, background.colour, placement),
        background.fps,
    )
    _say(str(options.out))


def convert(options: argparse.Namespace) -> None:
    from .official.conversion import DTYPES, Conversion, Packing, convert_official

    check_output_file(options.target, [options.source])
    text_dtype = DTYPES[options.text_precision] if options.text_precision else None
    how = Conversion(
        options.variant,
        DTYPES[options.precision],
        options.merge,
        options.motion,
        tuple(options.latent_size) if options.latent_size else None,
        packing=Packing(_base(options), options.parts == ALL_PARTS, options.share, text_dtype),
    )
    _say(f"{options.target}  sha256 {convert_official(options.source, options.target, how)}")


def _base(options: argparse.Namespace):
    """The parts that are named one by one, before those of ``--base``."""
    from .weights.components import Components

    folder = Components.in_folder(options.base) if options.base else Components()
    named = {
        name: value
        for name in ("text_encoder", "tokenizer", "vae")
        if (value := getattr(options, name))
    }
    return replace(folder, **named)


def _parts(options: argparse.Namespace):
    """Those of ``_base``; a text encoder of the checkpoint's own gets a tokenizer that lies near, if it lacks one."""
    from .weights.components import find_tokenizer

    base = _base(options)
    if base.text_encoder or base.tokenizer or options.model is None:
        return base
    return replace(base, tokenizer=find_tokenizer(options.model, Path(__file__)))


def fetch(options: argparse.Namespace) -> None:
    paths = download(
        options.name,
        options.models,
        options.revision,
        lambda file, size: _say(f"{file}, {size / 1e9:.1f} GB"),
    )
    if options.convert:
        paths = [convert_download(options.name, options.models)]
    _say("\n".join(str(path) for path in paths))


def verify(options: argparse.Namespace) -> None:
    from .official.verification import verify_folder

    for verdict in verify_folder(options.folder, options.out, read_device(options.device)):
        _say(str(verdict))


def check(options: argparse.Namespace) -> None:
    from .check.cases import Bench
    from .check.checking import run_check

    minutes = read_minutes(options.minutes)
    for suffix in (".md", ".json"):
        check_output_file(options.out.with_suffix(suffix), filter(None, [options.model]))
    bench = Bench(read_device(options.device), options.model, _parts(options))
    report = run_check(bench, minutes, _say)
    _say("\n".join(str(path) for path in report.write(options.out)))
    if report.failures:
        raise SamplingError(f"{len(report.failures)} of the measurements above are wrong")


def demo(options: argparse.Namespace) -> None:
    """Generates a scene from prompts and decomposes another one, on the embedded model."""
    from .toy.world import draw_scene, render

    check_output_folder(options.out, ())
    model, host = _load(options)
    scene = draw_scene(options.seed, held_out=True)
    footage = draw_scene(options.seed + 1, held_out=True)
    _say(f"generate: {scene.blended_prompt}")
    run = Run(scene.prompts, {}, _settings(options, model), options.seed)
    made = make_layers(model, run, host)
    _finish(host, options, made, describe_run(model, run, "generate"), below="generate")
    _say(f"decompose: {footage.blended_prompt}")
    run = Run(
        {k: v for k, v in footage.prompts.items() if k != BLENDED},
        {},
        _settings(options, model, BLENDED),
        options.seed,
    )
    layers = take_apart(model, render(footage).blended, run, host=host)
    _finish(host, options, layers, describe_run(model, run, "decompose"), below="decompose")


def evaluate_any(options: argparse.Namespace) -> None:
    """Saved results, or a model of the procedural world with ``--toy``."""
    if options.toy and options.folders:
        raise EvaluationError("got folders and --toy, expected one of both")
    if options.toy:
        evaluate_toy(options)
    else:
        evaluate_results(options)


def evaluate_results(options: argparse.Namespace) -> None:
    from .evaluation.evaluating import Evaluation
    from .evaluation.evaluating import evaluate as measure
    from .evaluation.metric_networks import MetricNetworks
    from .evaluation.tables import write_markdown, write_tables

    networks = MetricNetworks(options.networks, str(read_device(options.device)))
    evaluation = Evaluation(
        options.folders, options.out, options.truth, options.measure, networks, options.again
    )
    runs = measure(evaluation, lambda text: print(text, file=sys.stderr, flush=True))
    written = write_tables(runs, options.out)
    _say(write_markdown(runs))
    _say("\n".join(str(path) for path in written))


def evaluate_toy(options: argparse.Namespace) -> None:
    def report(done: int, total: int) -> None:
        print(
            f"\rscene {done}/{total}",
            end="\n" if done == total else "",
            file=sys.stderr,
            flush=True,
        )

    if options.proof:
        from .toy.proof_table import SEEDS, measure_proof

        _say(
            measure_proof(
                options.proof,
                range(options.seed, options.seed + SEEDS),
                options.scenes,
                options.steps,
            ),
            end="",
        )
        return
    if options.json:
        check_output_file(options.json, [options.model])
    figures = evaluate(
        EvaluationPlan(options.model, options.seed, options.scenes, options.steps), report
    )
    if options.json:
        write_figures(figures, options.json)
    _say(json.dumps(figures, indent=2))


def train(options: argparse.Namespace) -> None:
    from .training.config import read_training_config
    from .training.run import run_training

    result = run_training(read_training_config(options.config), options.check)
    if result is not None:
        _say(str(result))


def collect_coarse(options: argparse.Namespace) -> None:
    from .training.data.clip_folder import write_clip
    from .training.data.coarse import coarse_clips, match_prompts, read_masks
    from .video.files import read_video

    masks = read_masks(options.mask)
    prompts = match_prompts(masks, options.foreground, options.background, options.blended)
    footage = read_video(options.video)
    background = read_video(options.inpainted)
    name = clean_name(options.video.stem)
    clips, refused = coarse_clips(name, footage.colour, background.colour, masks, prompts)
    for refusal in refused:
        print(f"refused {refusal.mask}: {refusal.reason}", file=sys.stderr)
    if not clips:
        raise DatasetError(
            f"{options.video}: got no clip of {len(masks)} masks, expected one at least; "
            "they are refused above"
        )
    for clip in clips:
        _say(str(write_clip(options.out, replace(clip, fps=footage.fps))))
