"""Every error of the project can be caught by its root, and says more than its root does."""

import inspect

import pytest

from layerflow_core import errors
from layerflow_core.errors import CheckpointError, LayerFlowError, MissingPartError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_caught_by_the_root_and_says_what_it_is_told(kind):
    assert kind.__doc__
    with pytest.raises(LayerFlowError, match="got 3, expected 4"):
        raise kind("got 3, expected 4")


def test_a_missing_part_is_a_fault_of_the_checkpoint():
    assert issubclass(MissingPartError, CheckpointError)


def test_no_error_is_also_one_of_python_s_that_callers_handle():
    for kind in KINDS:
        assert not issubclass(kind, (OSError, ValueError, MemoryError, RuntimeError))
