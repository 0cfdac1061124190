"""What every node does the same way: errors go out under a short name, warnings reach the person.

ComfyUI shows an error's full class name, and nobody reads the console. So a ``LayerFlowError`` of the core is shown as
``LayerFlow``, and the core's log warnings of a run travel with the node's result to ``web/layerflow/warnings.js``.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..layerflow_core import errors
from ..layerflow_core.errors import LayerFlowError

SHOWN_NAME = "LayerFlow"
WARNINGS = "layerflow_warnings"
"""Key of the texts in a node's ``ui`` result."""


def guard(node: type) -> type:
    """A node class whose function shows errors and warnings as this module says."""
    method = getattr(node, node.FUNCTION)

    @functools.wraps(method)
    def run(*arguments, **inputs) -> Any:
        with _collected_warnings() as texts, _short_names():
            result = method(*arguments, **inputs)
        return _with_warnings(result, texts) if texts else result

    setattr(node, node.FUNCTION, run)
    return node


@contextmanager
def _short_names() -> Iterator[None]:
    try:
        yield
    except LayerFlowError as error:
        error.__class__ = _short_class(type(error))
        raise


@functools.cache
def _short_class(kind: type[LayerFlowError]) -> type[LayerFlowError]:
    """The same kind of error, called ``LayerFlow``: ComfyUI leaves out the module of builtins only."""
    return type(SHOWN_NAME, (kind,), {"__module__": "builtins"})


class _Collector(logging.Handler):
    """Keeps each warning of one thread once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.thread == self._thread and text not in self.texts:
            self.texts.append(text)


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Texts of the core's warnings within the block; they also reach the console as before."""
    logger = logging.getLogger(errors.__name__.rpartition(".")[0])
    collector = _Collector()
    logger.addHandler(collector)
    try:
        yield collector.texts
    finally:
        logger.removeHandler(collector)


def _with_warnings(result: Any, texts: list[str]) -> dict:
    if not isinstance(result, dict):
        result = {"result": result}
    return {**result, "ui": {**result.get("ui", {}), WARNINGS: list(texts)}}
