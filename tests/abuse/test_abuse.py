"""A short run of the abuse harness: every reader, every nasty file, and some damaged inputs.

The long one is a command: ``python tests/abuse/run.py --inputs 10000``.
"""

import os

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the abuse harness forks, which this system cannot", allow_module_level=True)

from .children import BAD, run_inputs
from .inputs import Inputs
from .nasty import nasty_files
from .readers import READERS
from .run import in_child, preload
from .seeds import make_seeds

DAMAGED = 20  # inputs of a reader, beside the nasty ones


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    preload()
    return in_child(make_seeds, tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_whatever_comes_in_is_read_or_refused_with_a_typed_error(reader, seeds, tmp_path):
    video = next(seed for seed in seeds["videos"] if seed.name == "a.mp4")
    inputs = Inputs(reader.name, seeds[reader.seeds], nasty_files(video.files["a.mp4"]), chance=0)
    numbers = range(len(inputs.placed) + DAMAGED)
    reports = list(run_inputs(reader, inputs, numbers, tmp_path / "box", workers=2))
    assert len(reports) == len(numbers)
    faults = [report for report in reports if report.outcome in BAD]
    told = [f"{inputs.describe(fault.number)}: {fault.outcome} {fault.place}\n{fault.detail}" for fault in faults]
    assert not faults, "\n".join(told[:3])


def test_sound_inputs_are_read(seeds, tmp_path):
    """Else the harness would see nothing but refusals."""
    for reader in READERS:
        for seed in seeds[reader.seeds] if reader.seeds != "names" else ():
            inputs = Sound(reader.name, [seed], (), 0)
            (report,) = run_inputs(reader, inputs, [0], tmp_path / reader.name / "box", workers=1)
            assert report.outcome == "fine", f"{reader.name}, {seed.name}: {report}"


class Sound(Inputs):
    """A seed as it is."""

    def write(self, number, folder):
        return self.seeds[0].write(folder)
