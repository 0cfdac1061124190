import json

import pytest

from layerflow_core.batch import running
from layerflow_core.batch.running import choose_shots, run_batch
from layerflow_core.cli import main
from layerflow_core.errors import BatchError, FailedShotsError

ROWS = [{"name": name, "foreground": f"a {name} star"} for name in ("red", "blue")]


def lines_of(batch) -> list[str]:
    lines: list[str] = []
    run_batch(batch, lines.append)
    return lines


def test_what_is_done_is_not_run_again_unless_its_inputs_change(make_batch, tmp_path, capsys):
    assert lines_of(make_batch(ROWS)) == []
    out = tmp_path / "out"
    assert capsys.readouterr().out.splitlines() == [f"done {out / n}" for n in ("red", "blue")]
    before = (out / "red" / "layers.json").stat().st_mtime_ns
    changed = [ROWS[0], ROWS[1] | {"seed": 5}]
    assert lines_of(make_batch(changed)) == [f"kept {out / 'red'}"]
    assert capsys.readouterr().out == f"done {out / 'blue'}\n"
    assert (out / "red" / "layers.json").stat().st_mtime_ns == before
    assert json.loads((out / "blue" / "layers.json").read_text())["seed"] == 5
    (out / "red" / "background.mp4").unlink()
    lines_of(make_batch(changed))
    assert (out / "red" / "background.mp4").is_file()


def test_a_failing_shot_does_not_stop_the_others(make_batch, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = {"name": "broken", "task": "decompose", "video": "broken.mp4", "foreground": "x"}
    with pytest.raises(FailedShotsError, match="1 of 3 shots failed, 2 are done"):
        run_batch(make_batch([broken, *ROWS]), lambda line: None)
    assert (tmp_path / "out" / "blue" / "layers.json").is_file()
    assert "failed" in capsys.readouterr().out


def test_ctrl_c_keeps_whole_shots_alone(make_batch, tmp_path, monkeypatch):
    calls = []
    real = running.ShotWorker.run

    def stop_at_the_second(self, task):
        calls.append(task.shot.name)
        if len(calls) == 2:
            monkeypatch.setattr("layerflow_core.batch.worker.replace_layers", interrupt)
        return real(self, task)

    def interrupt(folder, *_, **__):
        (folder / "half.mp4").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(running.ShotWorker, "run", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_batch(make_batch(ROWS), lambda line: None)
    assert calls == ["red", "blue"]
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert there == ["red", "summary.html"]


def test_shots_are_chosen_by_number():
    assert choose_shots("abcde", "2-3,5,2") == ["b", "c", "e"]
    assert choose_shots("ab", "") == ["a", "b"]
    with pytest.raises(BatchError, match="got 6, expected 1 to 5"):
        choose_shots("abcde", "4-6")


def test_the_commands_exit_status_tells_mistakes_from_failures(tmp_path, quick_checkpoint, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    lists = {
        "good.csv": ("name,task,background\na,generate,a sky\nb,generate,a sea\n", 0),
        "wrong.csv": ("name,task\na,generate\n", 1),
        "failing.csv": ("task,video,background\ndecompose,broken.mp4,a sky\n", 3),
    }
    for name, (text, status) in lists.items():
        (tmp_path / name).write_text(text)
        words = ["batch", str(tmp_path / name), "--model", str(quick_checkpoint), "--shots", "1"]
        out = tmp_path / f"out_{name}"
        assert main([*words, "--device", "cpu", "--steps", "2", "--out", str(out)]) == status
    assert not (tmp_path / "out_good.csv" / "b").exists()
    assert "nothing was run" in capsys.readouterr().err
