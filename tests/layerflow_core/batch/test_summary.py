import json
import re
from dataclasses import replace

import pytest
import torch

from layerflow_core.batch import summary
from layerflow_core.batch.checking import read_shots
from layerflow_core.batch.running import run_batch
from layerflow_core.batch.summary import Entry, write_summary
from layerflow_core.batch.worker import DONE, FAILED, ShotResult
from layerflow_core.video.png import write_png

HOSTILE = '<script>alert("1")</script> & <!-- rows -->'


@pytest.fixture
def entry(make_batch):
    batch = make_batch([{"name": "a b", "foreground": HOSTILE}])
    shot = read_shots(batch.list, batch.out, batch.defaults)[0]
    shot.folder.mkdir(parents=True)
    write_png(shot.folder / "contact_sheet.png", torch.rand(3, 300, 900))
    return Entry(shot, ShotResult(1, DONE, 12.3))


def test_pictures_are_in_the_page_and_nothing_is_from_elsewhere(entry, tmp_path):
    page_path = tmp_path / "out" / "summary.html"
    write_summary(page_path, [entry])
    page = page_path.read_text()
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert len(sources) == 1 and sources[0].startswith("data:image/jpeg;base64,")
    assert "http:" not in page and "https:" not in page and "<script" not in page
    assert "1 done" in page and "12 s" in page and 'href="a%20b/"' in page
    assert "&lt;script&gt;" in page and page.count("<tr>") == 2


def test_a_large_batch_takes_pictures_from_their_folders(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "MOST_EMBEDDED", 0)
    write_summary(tmp_path / "out" / "summary.html", [entry])
    page = (tmp_path / "out" / "summary.html").read_text()
    assert 'src="a%20b/contact_sheet.png"' in page


def test_what_failed_says_why_and_a_damaged_sheet_is_left_out(entry, tmp_path):
    page_path = tmp_path / "out" / "summary.html"
    failed = replace(entry, result=ShotResult(1, FAILED, message="got <nothing>"))
    write_summary(page_path, [failed])
    assert "got &lt;nothing&gt;" in page_path.read_text() and "<img" not in page_path.read_text()
    (entry.shot.folder / "contact_sheet.png").write_bytes(b"no image")
    write_summary(page_path, [entry])
    assert "<img" not in page_path.read_text()


def test_a_batch_of_which_a_part_was_wanted_shows_all(make_batch, tmp_path):
    rows = [{"name": name, "foreground": "a star"} for name in "abc"]
    run_batch(make_batch(rows, "1"), lambda line: None)
    run_batch(make_batch(rows, "2"), lambda line: None)
    page = (tmp_path / "out" / "summary.html").read_text()
    states = re.findall(r'<b class="([\w-]+)"', page)
    assert states == ["kept", "done", "not-run"]
    assert json.loads((tmp_path / "out" / "a" / "layers.json").read_text())["shot"] == "a"
