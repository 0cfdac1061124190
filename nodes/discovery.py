"""Which classes of this package are nodes: a node is known by what it has, not by a list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

_OF_A_NODE = ("DISPLAY_NAME", "CATEGORY", "RETURN_TYPES", "FUNCTION", "INPUT_TYPES")


def find_nodes(package: str, folders: list[str]) -> list[type]:
    """Every node class of a package's modules, by the modules' names.

    Args:
        package: its full name, under which ComfyUI has imported it.
        folders: its ``__path__``.

    Raises:
        TypeError: two nodes have one id; a saved graph could mean either.
    """
    nodes: dict[str, type] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(folders)):
        module = importlib.import_module(f"{package}.{name}")
        for cls in _nodes_of(module):
            if cls.__name__ in nodes:
                raise TypeError(
                    f"{module.__name__} has a node {cls.__name__}, expected another name: "
                    f"{nodes[cls.__name__].__module__} has one, too"
                )
            nodes[cls.__name__] = cls
    return list(nodes.values())


def _nodes_of(module: ModuleType) -> Iterator[type]:
    """The node classes that a module defines, in its order; what it imports is another module's."""
    for value in vars(module).values():
        is_own = isinstance(value, type) and value.__module__ == module.__name__
        if is_own and all(hasattr(value, name) for name in _OF_A_NODE):
            yield value
