from dataclasses import replace

import pytest

from layerflow_core.errors import TrainingError
from layerflow_core.model.lora_file import read_lora
from layerflow_core.toy import proof_table
from layerflow_core.toy.curriculum import CURRICULA, SHIPPED
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.proof import TRAININGS, Clips, result_of, training_config
from layerflow_core.toy.proof_table import (
    CHANNELS,
    FULL,
    MEASURES,
    ROWS,
    VIDEO_ONLY,
    judge,
    make_table,
    measure_proof,
    write_markdown,
)
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


def figures(**changed):
    """One evaluation's result, every figure .5 with a standard error of .01 but for those that are named."""
    values = {m.name: changed.get(m.name, 0.5) for m in MEASURES}
    groups = {
        group: {m.name: values[m.name] for m in MEASURES if m.group == group}
        for group in ("decompose", "generate")
    }
    spread = {group: dict.fromkeys(row, 0.01) for group, row in groups.items()}
    trivial = {m.trivial: 0.9 for m in MEASURES if m.trivial}
    return {**groups, "spread": spread, "trivial": trivial, "truth": groups["generate"]}


def test_orderings_are_judged_by_what_chance_allows():
    runs = {row.name: [figures(), figures()] for row in ROWS}
    runs[VIDEO_ONLY] = [figures(alpha_mae=0.6, alpha_iou=0.6, background_psnr=0.505)] * 2
    verdicts = {
        (source.split(":")[0], measure): verdict
        for source, measure, verdict in judge(make_table(runs))
        if "video only" in source
    }
    assert verdicts["the paper's table 3", "alpha error"] == "comes out"  # less is better
    assert verdicts["the paper's table 3", "alpha IoU"] == "is reversed"
    assert verdicts["the paper's table 3", "hidden background, dB"] == "undecided"


def test_table_pools_seeds_and_shows_trivial_answers():
    runs = {row.name: [figures(alpha_mae=0.2), figures(alpha_mae=0.4)] for row in ROWS}
    table = make_table(runs)
    assert table[FULL]["alpha_mae"] == pytest.approx((0.3, 0.01 / 2**0.5))
    text = "\n".join(write_markdown(table, 128))
    assert (
        "alpha error (less) | 0.300 ± 0.007" in text
        and "| 0.900 |" in text
        and CHANNELS in text
        and "128" in text
    )


def test_an_unfinished_proof_says_what_is_missing(tmp_path):
    with pytest.raises(TrainingError, match="base, motion, content"):
        measure_proof(tmp_path, [0], 2, 1)


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch):
    for name in TRAININGS:
        result_of(tmp_path, name).parent.mkdir(exist_ok=True)
        result_of(tmp_path, name).touch()
    plans = []
    monkeypatch.setattr(proof_table, "evaluate", lambda plan: plans.append(plan) or figures())
    for _ in range(2):
        measure_proof(tmp_path, [0, 1], 4, 2)
    assert len(plans) == 2 * len(ROWS) and {plan.seed for plan in plans} == {0, 1}
    assert (
        "three stages" in (tmp_path / "proof.md").read_text() and (tmp_path / "proof.json").exists()
    )
