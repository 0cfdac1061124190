import json

import pytest
import torch

from layerflow_core.editing.arrangement import ArrangedLayer, arrange, read_arrangement
from layerflow_core.errors import FrameError
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.rgba import over


def layers_of(frames: int = 2) -> LayerVideo:
    generator = torch.Generator().manual_seed(0)

    def draw(channels: int = 3) -> torch.Tensor:
        return torch.rand(frames, channels, 4, 6, generator=generator)

    foregrounds = tuple(Foreground(name, draw(), draw(1)) for name in ("dog", "cat"))
    return LayerVideo(foregrounds, draw(), draw(), 8.0, draw() - 0.5)


def rows_of(*names: str, **changes: dict) -> list[ArrangedLayer]:
    return [ArrangedLayer(name, **changes.get(name, {})) for name in names]


MUTED = {"visible": False}


def test_nothing_arranged_is_nothing_changed():
    layers = layers_of()
    assert arrange(layers, read_arrangement("")) is layers


def test_order_and_opacity_are_the_composite_that_was_seen():
    layers = layers_of()
    dog, cat = layers.foregrounds
    rows = rows_of("background", "cat", "dog", cat={"opacity": 0.5})
    baked = arrange(layers, rows)
    assert [layer.name for layer in baked.foregrounds] == ["cat", "dog"]
    seen = over(cat.colour, cat.alpha * 0.5, layers.background)
    seen = over(dog.colour, dog.alpha, seen)
    assert torch.allclose(baked.recompose(), seen, atol=1e-6)
    assert baked.blended is None and baked.residual is None


def test_what_is_muted_is_left_out_and_solo_is_alone():
    layers = layers_of()
    baked = arrange(layers, rows_of("background", "dog", "cat", dog=MUTED))
    assert [layer.name for layer in baked.foregrounds] == ["cat"]
    alone = arrange(layers, rows_of("background", "dog", "cat", dog={"solo": True}))
    assert [layer.name for layer in alone.foregrounds] == ["dog"] and alone.background is None


@pytest.mark.parametrize(
    "rows",
    [
        rows_of("dog", "background", "cat"),
        rows_of("background", "dog", "cat", background={"opacity": 0.5}),
        rows_of("background", "dog", "cat", dog=MUTED, cat=MUTED),
    ],
    ids=["not lowest", "not opaque", "alone"],
)
def test_a_background_that_cannot_stay_one_becomes_a_layer(rows):
    baked = arrange(layers_of(), rows)
    assert baked.background is None
    assert "background_layer" in [layer.name for layer in baked.foregrounds]


def test_residual_and_blended_are_kept_when_they_are_seen():
    layers = layers_of()
    rows = rows_of("background", "dog", "cat", "residual", residual={"opacity": 0.5})
    assert torch.equal(arrange(layers, rows).residual, layers.residual * 0.5)
    top = arrange(layers, rows_of("background", "dog", "cat", "blended")).foregrounds[-1]
    assert top.name == "blended_layer" and torch.equal(top.colour, layers.blended)


def test_layers_that_are_not_named_keep_their_place():
    baked = arrange(layers_of(), rows_of("cat", cat={"opacity": 0.5}))
    assert [layer.name for layer in baked.foregrounds] == ["cat", "dog"]
    assert baked.background is not None
    assert arrange(layers_of(), rows_of("horse")).foregrounds[0].name == "dog"


def test_all_muted_says_what_to_do():
    rows = rows_of("background", "dog", "cat", background=MUTED, dog=MUTED, cat=MUTED)
    with pytest.raises(FrameError, match="unmute one"):
        arrange(layers_of(), rows)


def test_text_of_the_player_is_read():
    text = json.dumps([{"name": "dog", "visible": True, "opacity": 0.25, "solo": False}])
    assert read_arrangement(text) == [ArrangedLayer("dog", 0.25)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"name": "dog"}',
        '["dog"]',
        '[{"opacity": 1}]',
        '[{"name": "dog", "opacity": 2}]',
        '[{"name": "dog", "opacity": NaN}]',
        '[{"name": "dog", "visible": "perhaps"}]',
        '[{"name": "dog"}, {"name": "dog"}]',
        "[" * 5000,
        '[{"name": "' + "x" * 20000 + '"}]',
    ],
)
def test_other_text_is_one_typed_error(text):
    with pytest.raises(FrameError, match="arrangement"):
        read_arrangement(text)
