"""Nodes, called the way ComfyUI calls them."""

import sys

import pytest


@pytest.fixture
def call(pack):
    """Run a node the way ComfyUI does, defaults filled in."""

    def run(name, /, **inputs):
        cls = pack.NODE_CLASS_MAPPINGS[name]
        defaults = {}
        for key, (kind, *options) in cls.INPUT_TYPES()["required"].items():
            if options and "default" in options[0]:
                defaults[key] = options[0]["default"]
            elif isinstance(kind, (list, tuple)):
                defaults[key] = kind[0]
        return getattr(cls(), cls.FUNCTION)(**{**defaults, **inputs})

    return run


@pytest.fixture
def embedded_model(call):
    return call("LoadLayerFlow")[0]


@pytest.fixture
def model(pack, call, quick_checkpoint, monkeypatch):
    """A small model of random weights in place of the embedded one, for runs whose image does not matter."""
    loader = sys.modules[f"{pack.__name__}.nodes.load_layerflow"]
    monkeypatch.setattr(loader, "EMBEDDED", quick_checkpoint)
    return call("LoadLayerFlow")[0]


@pytest.fixture
def clip(call):
    """foreground, alpha, background, blended, rgba, transparency, fps, prompts, layers"""
    return call("LayerFlowSampleClip", seed=8)
