import logging
import sys
import threading

import pytest


@pytest.fixture()
def boundary(pack):
    return sys.modules[f"{pack.__name__}.nodes.boundary"]


@pytest.fixture()
def core_log(pack):
    return logging.getLogger(f"{pack.__name__}.layerflow_core.pipeline")


def make_node(run):
    """A node class around a function, as ComfyUI has them."""
    return type("Node", (), {"FUNCTION": "run", "run": lambda self, **inputs: run(**inputs)})


def comfy_type_name(error: BaseException) -> str:
    """As ComfyUI's execution.py names the type of an error."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def test_errors_are_shown_under_a_short_name_and_keep_their_kind(pack, boundary):
    errors = sys.modules[f"{pack.__name__}.layerflow_core.errors"]

    def fail():
        raise errors.FrameError("got 3 frames, expected 4")

    with pytest.raises(errors.FrameError, match="got 3 frames") as caught:
        boundary.guard(make_node(fail))().run()
    assert comfy_type_name(caught.value) == "LayerFlow"


def test_a_cancel_passes_as_it_is(boundary, host):
    def cancel():
        raise host.interrupted

    with pytest.raises(host.interrupted) as caught:
        boundary.guard(make_node(cancel))().run()
    assert type(caught.value) is host.interrupted


def test_warnings_of_the_core_travel_with_the_result(boundary, core_log):
    def warn():
        core_log.warning("the prompt has %d tokens", 300)
        core_log.warning("the prompt has %d tokens", 300)
        core_log.info("not for people")
        return ("layers",)

    result = boundary.guard(make_node(warn))().run()
    assert result == {
        "result": ("layers",),
        "ui": {"layerflow_warnings": ["the prompt has 300 tokens"]},
    }


def test_warnings_stand_beside_what_a_node_shows_already(boundary, core_log):
    def warn():
        core_log.warning("slow")
        return {"ui": {"text": ["x"]}, "result": (1,)}

    result = boundary.guard(make_node(warn))().run()
    assert result == {"ui": {"text": ["x"], "layerflow_warnings": ["slow"]}, "result": (1,)}


def test_without_warnings_a_result_is_left_alone(boundary):
    assert boundary.guard(make_node(lambda: (1, 2)))().run() == (1, 2)


def test_warnings_of_other_threads_and_libraries_are_not_this_nodes(boundary, core_log):
    def warn():
        other = threading.Thread(target=core_log.warning, args=("of another run",))
        other.start()
        other.join()
        logging.getLogger("diffusers").warning("not ours")
        return (1,)

    assert boundary.guard(make_node(warn))().run() == (1,)


def test_nothing_is_left_behind_after_an_error(boundary, core_log):
    logger = logging.getLogger(core_log.name.rpartition(".")[0])
    before = list(logger.handlers)

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        boundary.guard(make_node(fail))().run()
    assert logger.handlers == before


def test_every_node_is_guarded(pack):
    for node in pack.NODE_CLASS_MAPPINGS.values():
        assert hasattr(getattr(node, node.FUNCTION), "__wrapped__"), node
