import pytest

from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.errors import LayerFlowError
from layerflow_core.layout import LAYOUTS


@pytest.mark.parametrize("row", LAYOUTS.values(), ids=lambda r: r.name)
def test_survives_json(row):
    config = ModelConfig(row, NetworkConfig(content_rank=256), fps=24.0, sampler={"steps": 3})
    assert ModelConfig.from_json(config.to_json()) == config


def test_what_is_given_may_change_the_sampler():
    config = ModelConfig(
        LAYOUTS["unified_rgba"],
        sampler={"steps": 12, "scale": 4.0},
        sampler_given={"blended": {"scale": 1.5}},
    )
    assert config.sampler_for() == {"steps": 12, "scale": 4.0} == config.sampler_for(["background"])
    assert config.sampler_for(["blended"]) == {"steps": 12, "scale": 1.5}
    assert ModelConfig.from_json(config.to_json()) == config


def test_official_sequence_length():
    assert ModelConfig(LAYOUTS["gen_rgba"]).sequence_length == 22278
    assert ModelConfig(LAYOUTS["fg2bg_rgba"]).sequence_length == 23628
    assert ModelConfig(LAYOUTS["seg_rgba"]).sequence_length == 22052


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "layout": 3}']
)
def test_refuses_what_is_no_config(text):
    with pytest.raises(LayerFlowError):
        ModelConfig.from_json(text)
