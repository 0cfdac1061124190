"""A short run of the abuse harness: every reader, every nasty file, and some damaged inputs.

The long one is a command: ``python tests/abuse/run.py --inputs 10000``. The short one is that command too, in a process
of its own: forked children want a parent without threads.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the abuse harness forks, which this system cannot", allow_module_level=True)

from .children import BAD
from .readers import READERS

COMMAND = Path(__file__).with_name("run.py")
DAMAGED = 25  # inputs of a reader, beside the sound and the nasty ones


@pytest.fixture(scope="module")
def reports(request, tmp_path_factory) -> dict[str, list[dict]]:
    """By the readers whose tests run."""
    items = [item for item in request.session.items if item.path == request.path]
    names = [item.callspec.params["name"] for item in items]
    file = tmp_path_factory.mktemp("abuse") / "reports.json"
    command = [sys.executable, COMMAND, "--report", file, "--inputs", str(DAMAGED * len(names))]
    for name in names:
        command += ["--reader", name]
    result = subprocess.run(command, capture_output=True, text=True)
    assert file.is_file(), result.stderr[-2000:]
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", [reader.name for reader in READERS])
def test_sound_inputs_are_read_and_others_refused_with_a_typed_error(name, reports):
    found = reports[name]
    assert len(found) > DAMAGED
    assert any(report["outcome"] == "fine" for report in found)
    faults = [report for report in found if report["outcome"] in BAD]
    told = ["{outcome}: {place}\n{detail}".format(**fault) for fault in faults]
    assert not faults, "\n\n".join(told[:3])
