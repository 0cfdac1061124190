"""Writes ``locales/en/nodeDefs.json`` from the nodes themselves; ``test_locale`` holds them together.

Run as ``python -m pytest tests/nodes/test_locale.py --write-locale``.
"""

from __future__ import annotations

from typing import Any


def locale_of(pack) -> dict[str, Any]:
    """What ComfyUI's frontend reads: names and tooltips by node id."""
    return {
        name: _node(cls, pack.NODE_DISPLAY_NAME_MAPPINGS[name])
        for name, cls in sorted(pack.NODE_CLASS_MAPPINGS.items())
    }


def _node(cls: type, display_name: str) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for group in ("required", "optional"):
        for key, (_, *options) in cls.INPUT_TYPES().get(group, {}).items():
            inputs[key] = {"name": key, "tooltip": options[0]["tooltip"]}
    outputs = {
        str(index): {"name": name, "tooltip": tip}
        for index, (name, tip) in enumerate(zip(cls.RETURN_NAMES, cls.OUTPUT_TOOLTIPS))
    }
    return {
        "display_name": display_name,
        "description": cls.DESCRIPTION,
        "inputs": inputs,
        "outputs": outputs,
    }
