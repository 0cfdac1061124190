import pytest

from layerflow_core.errors import TrainingError
from layerflow_core.toy import train
from layerflow_core.toy.curriculum import CURRICULA, SHIPPED
from layerflow_core.toy.workers import final_weights


@pytest.fixture
def started(monkeypatch):
    """Numbers of the stages whose training was started; each leaves its result."""
    numbers = []

    def run(count, work, folder, *arguments):
        if work is train.train_stage:
            *_, curriculum, number = arguments
            numbers.append(number)
            final_weights(train.Path(folder), CURRICULA[curriculum].stages[number].name).touch()

    monkeypatch.setattr(train, "run_workers", run)
    return numbers


def test_only_stages_that_are_not_there_are_trained(tmp_path, started):
    stages = CURRICULA[SHIPPED].stages
    final_weights(tmp_path, stages[0].name).touch()
    train.train_curriculum(tmp_path, SHIPPED)
    assert started == list(range(1, len(stages)))
    train.train_curriculum(tmp_path, SHIPPED)
    assert len(started) == len(stages) - 1


def test_a_training_that_was_stopped_says_how_it_goes_on(tmp_path):
    with pytest.raises(TrainingError, match="start it again to resume"):
        train.require_finished(tmp_path / "vae_final.pt")
