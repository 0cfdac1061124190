import pytest

from layerflow_core.errors import TrainingError
from layerflow_core.toy import proof_table
from layerflow_core.toy.proof import TRAININGS, result_of
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
