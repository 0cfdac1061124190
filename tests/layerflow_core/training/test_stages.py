import pytest

from layerflow_core.config import NetworkConfig
from layerflow_core.errors import TrainingError
from layerflow_core.layout import find_layout
from layerflow_core.training.data.cache import TREATMENTS
from layerflow_core.training.stages import STAGES, TASKS, choose_trainable, find_stage, task_layouts

SEVEN_BLOCKS = NetworkConfig(2, 16, 7, 16, 8, 4, 4, 6, 2, tokens_per_text=5)


def test_the_official_filter_takes_every_sixth_block_and_the_layer_embedder(make_network):
    network = make_network("gen_rgba", content=2, motion=2, dims=SEVEN_BLOCKS)
    chosen = choose_trainable(network, None, "sixth")
    assert all(
        name.startswith(("backbone.transformer_blocks.5.", "layer_embedder."))
        and ".lora_" not in name
        for name in chosen
    )
    assert {
        "layer_embedder.linear.weight",
        "backbone.transformer_blocks.5.norm1.linear.weight",
    } <= set(chosen)
    assert {n for n, p in network.named_parameters() if p.requires_grad} == set(chosen)


@pytest.mark.parametrize("adapter", ["content", "motion"])
@pytest.mark.parametrize("blocks, count", [("sixth", 1), ("every", 7)])
def test_a_lora_stage_trains_that_lora_alone(make_network, adapter, blocks, count):
    network = make_network("gen_rgba", content=2, motion=2, dims=SEVEN_BLOCKS)
    chosen = choose_trainable(network, adapter, blocks)
    assert len(chosen) == count * 4 * 2 and all(f".{adapter}." in name for name in chosen)


def test_a_network_without_a_sixth_block_says_so(make_network):
    with pytest.raises(TrainingError, match="trains with 'every'"):
        choose_trainable(make_network("gen_rgb"), None, "sixth")


def test_rows_are_consistent():
    for stage in STAGES.values():
        assert all(source.treatment in TREATMENTS for source in stage.sources.values())
        assert sum(source.share for source in stage.sources.values()) == pytest.approx(1)
    with pytest.raises(TrainingError, match="unknown stage 'bas'"):
        find_stage("bas")


@pytest.mark.parametrize("variant", ["unified_rgba", "gen_rgb", "bg2fg_rgba"])
def test_every_row_of_tasks_fits_every_layout(variant):
    layout = find_layout(variant)
    for row in TASKS:
        for task, weight in task_layouts(layout, row):
            assert weight > 0 and task.names == layout.names
    assert [t.given_names for t, _ in task_layouts(layout, "own")] == [layout.given_names]
    given = task_layouts(layout, "foreground_to_background")[0][0].given_names
    assert given == (("foreground", "alpha") if "alpha" in layout.names else ("foreground",))
