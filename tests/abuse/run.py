"""Damaged and hostile inputs through every reader of the pack.

    python tests/abuse/run.py --inputs 10000 --seed 0 [--reader NAME] [--keep FOLDER]

Prints a table of what became of them, and every kind of fault once. The exit status is 1 if there is any fault.
``--number N`` with ``--reader`` reads one input again; ``--keep`` writes the inputs that failed to a folder.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]  # for running this file by its path
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from abuse.children import BAD, OUTCOMES, Report, run_inputs  # noqa: E402
from abuse.inputs import Inputs  # noqa: E402
from abuse.nasty import nasty_files  # noqa: E402
from abuse.readers import READERS, Reader  # noqa: E402
from abuse.seeds import make_seeds  # noqa: E402

_LINES = 6  # of a fault's traceback


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    readers = [reader for reader in READERS if not options.reader or reader.name in options.reader]
    _preload()
    with tempfile.TemporaryDirectory(prefix="layerflow_abuse_") as folder:
        reports = _run(readers, options, Path(folder))
    if options.report:
        options.report.write_text(json.dumps(reports, default=asdict))
    _print_table(reports)
    return 1 if _print_faults(reports, options.seed) else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [reader.name for reader in READERS]
    parser.add_argument(
        "--inputs", type=int, default=1000, help="damaged inputs of all readers together"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random choices")
    parser.add_argument(
        "--reader", action="append", choices=names, help="this one only; may be repeated"
    )
    parser.add_argument("--number", type=int, help="this input only")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    parser.add_argument("--report", type=Path, help="JSON file for all reports")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    return parser.parse_args(arguments)


def _preload() -> None:
    """Load once, before children are made, what they would all load."""
    import av  # noqa: F401
    import diffusers.models  # noqa: F401
    import OpenEXR  # noqa: F401
    import peft  # noqa: F401
    import PIL.Image
    import psd_tools  # noqa: F401
    import pydantic  # noqa: F401
    from transformers import T5EncoderModel  # noqa: F401

    PIL.Image.init()
    torch.set_num_threads(1)  # threads do not come along into a forked child


def _run(
    readers: list[Reader], options: argparse.Namespace, folder: Path
) -> dict[str, list[Report]]:
    seeds = _in_child(make_seeds, folder / "seeds")
    video = next(seed for seed in seeds["videos"] if seed.name == "a.mp4")
    nasty = nasty_files(video.files[video.entry])
    reports = {}
    for reader in readers:
        hostile = nasty if reader.nasty else ()
        inputs = Inputs(reader.name, seeds[reader.seeds], hostile, options.seed)
        numbers = _numbers(inputs, options, len(readers))
        box = folder / reader.name
        found = list(run_inputs(reader, inputs, numbers, box, options.workers))
        reports[reader.name] = sorted(found, key=lambda report: report.number)
        if options.keep:
            _keep(reader.name, inputs, reports[reader.name], options.keep)
    return reports


def _in_child(make, *arguments):
    """Libraries that start threads do it there."""
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        return pool.apply(make, arguments)


def _numbers(inputs: Inputs, options: argparse.Namespace, readers: int) -> Iterable[int]:
    if options.number is not None:
        return [options.number]
    return range(inputs.fixed + -(-options.inputs // readers))


def _keep(reader: str, inputs: Inputs, reports: list[Report], folder: Path) -> None:
    for report in reports:
        if report.outcome in BAD:
            place = folder / reader / str(report.number)
            place.mkdir(parents=True, exist_ok=True)
            inputs.write(report.number, place)


def _print_table(reports: Mapping[str, list[Report]]) -> None:
    whole = [report for found in reports.values() for report in found]
    _print_row("reader", OUTCOMES)
    for name, found in (*reports.items(), ("all", whole)):
        counts = Counter(report.outcome for report in found)
        _print_row(name, [str(counts[outcome] or ".") for outcome in OUTCOMES])


def _print_row(name: str, cells: Iterable[str]) -> None:
    print(name.ljust(22) + "".join(cell.rjust(11) for cell in cells))


def _print_faults(reports: Mapping[str, list[Report]], seed: int) -> int:
    """Each kind once, the most frequent first; returns how many kinds there are."""
    kinds = defaultdict(list)
    for reader, found in reports.items():
        for report in found:
            if report.outcome in BAD:
                kinds[report.outcome, report.place].append((reader, report))
    for (outcome, place), cases in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        reader, report = cases[0]
        readers = ", ".join(sorted({name for name, _ in cases}))
        print(f"\n{len(cases)} x {outcome}: {place} ({readers})")
        print(f"  again: --seed {seed} --reader {reader!r} --number {report.number}")
        for line in report.detail.strip().splitlines()[-_LINES:]:
            print(f"  {line}")
    return len(kinds)


if __name__ == "__main__":
    sys.exit(main())
