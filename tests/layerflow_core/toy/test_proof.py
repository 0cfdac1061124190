from dataclasses import replace

import pytest

from layerflow_core.model.lora_file import read_lora
from layerflow_core.toy.curriculum import CURRICULA, SHIPPED
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.proof import TRAININGS, Clips, result_of, training_config
from layerflow_core.toy.proof_table import ROWS
from layerflow_core.training.config import ModelSection
from layerflow_core.training.run import run_training


def test_every_training_stands_on_what_is_trained_before_it(tmp_path):
    ready = {name for name in CURRICULA if name != SHIPPED}
    for name, training in TRAININGS.items():
        assert training.start in ready and (training.motion is None or training.motion in ready)
        training_config(tmp_path, name)  # refuses a stage without its data or its motion LoRA
        ready.add(name)
    assert {row.network for row in ROWS} | {row.lora for row in ROWS} - {None} <= ready
    assert len({result_of(tmp_path, name) for name in ready}) == len(ready)


def test_no_two_sources_share_a_scene():
    from layerflow_core.toy.latents import SETS
    from layerflow_core.toy.proof import SOURCES

    seeds = sorted(
        (s.first_seed, s.first_seed + n)
        for s, n in [(s, s.scenes) for s in SETS.values()]
        + [(s, s.count) for s in SOURCES.values()]
    )
    assert (
        all(end <= start for (_, end), (start, _) in zip(seeds, seeds[1:]))
        and seeds[-1][1] <= 9 * 10**8
    )


def test_a_lora_of_the_proof_trains(tmp_path):
    pytest.importorskip("accelerate")
    config = training_config(tmp_path, "content_alone")
    config = replace(
        config,
        model=ModelSection(EMBEDDED),
        plan=replace(config.plan, steps=1, batch=1),
        data=dict.fromkeys(config.data, Clips(1, "exact", 7 * 10**8)),
    )
    assert run_training(config) == result_of(tmp_path, "content_alone")
    assert read_lora(result_of(tmp_path, "content_alone")).rank == 64
