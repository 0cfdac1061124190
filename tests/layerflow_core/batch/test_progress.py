from layerflow_core.batch.progress import BatchProgress
from layerflow_core.batch.worker import DONE, FAILED, ShotResult


def test_the_bar_counts_shots_failures_and_steps(capsys):
    progress = BatchProgress(2)
    progress.stage("sample")
    progress.step(3, 10, lambda: None)
    progress.finish(ShotResult(1, FAILED))
    progress.say("failed a")
    progress.finish(ShotResult(2, DONE))
    progress.close()
    shown = capsys.readouterr()
    assert shown.out == "failed a\n"
    assert "step 3/10" in shown.err and "2/2" in shown.err and "1 failed" in shown.err
