import pytest

from layerflow_core.layout import find_layout
from layerflow_core.toy.curriculum import CURRICULA
from layerflow_core.toy.latents import SETS

STAGES = [(name, stage) for name, row in CURRICULA.items() for stage in row.stages]


@pytest.mark.parametrize("name, stage", STAGES, ids=[stage.name for _, stage in STAGES])
def test_a_stage_has_its_data_and_draws_every_task_of_its_layout(name, stage):
    layout = find_layout(CURRICULA[name].layout)
    assert stage.data in SETS
    assert stage.frames == (4 if SETS[stage.data].moving else 1)
    assert sum(stage.tasks.values()) == pytest.approx(1)
    assert min(stage.tasks.values()) > 0
    assert {clip for given in stage.tasks for clip in given} <= set(layout.names)


def test_no_two_stages_write_to_one_folder():
    names = [stage.name for _, stage in STAGES]
    assert len(set(names)) == len(names)
