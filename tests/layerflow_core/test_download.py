import json
from types import SimpleNamespace

import pytest

from benchmarks.synthetic import write_released
from layerflow_core import atomic
from layerflow_core.download import SOURCES, convert_download, download
from layerflow_core.errors import DownloadError
from layerflow_core.model.loading import load_model
from layerflow_core.official.variants import released_folder
from layerflow_core.toy.captions import tokenizer_json

from .hub import Hub, serving

OLD, NEW = "a" * 40, "b" * 40
FOLDER = "multi-layer-generation-rgba"
STATE = f"{FOLDER}/1000/mp_rank_00_model_states.pt"


def files(content: bytes) -> dict[str, bytes]:
    return {
        STATE: content,
        f"{FOLDER}/latest": b"1000",
        "foreground-conditioned-generation-rgb/1000/x.pt": b"other",
        "README.md": b"read me",
    }


@pytest.fixture
def hub():
    return Hub("zjuJish/LayerFlow", {OLD: files(b"old weights"), NEW: files(b"new weights")})


def test_a_variant_and_nothing_else_is_fetched(hub, tmp_path):
    with serving(hub) as endpoint:
        seen = []
        paths = download(
            "gen_rgba", tmp_path, report=lambda *told: seen.append(told), endpoint=endpoint
        )
    folder = tmp_path / "layerflow"
    assert (
        {p.relative_to(folder).as_posix() for p in paths}
        == {STATE, f"{FOLDER}/latest"}
        == {name for name, _ in seen}
    )
    assert (folder / STATE).read_bytes() == b"new weights" and dict(seen)[STATE] == len(
        b"new weights"
    )
    record = json.loads((folder / "gen_rgba.source.json").read_text())
    assert record["revision"] == NEW and set(record["sha256"]) == {STATE, f"{FOLDER}/latest"}


def test_later_downloads_keep_to_the_commit_of_the_first(hub, tmp_path):
    with serving(hub) as endpoint:
        hub.newest = OLD
        download("gen_rgba", tmp_path, endpoint=endpoint)
        hub.newest = NEW
        (tmp_path / "layerflow" / STATE).unlink()
        download("gen_rgba", tmp_path, endpoint=endpoint)
        assert (tmp_path / "layerflow" / STATE).read_bytes() == b"old weights"
        download("gen_rgba", tmp_path, NEW, endpoint=endpoint)
        assert (tmp_path / "layerflow" / STATE).read_bytes() == b"new weights"


def test_what_is_there_is_not_fetched_again(hub, tmp_path):
    with serving(hub) as endpoint:
        download("gen_rgba", tmp_path, endpoint=endpoint)
        hub.asked.clear()
        download("gen_rgba", tmp_path, endpoint=endpoint)
    assert not [path for method, path, _ in hub.asked if method == "GET" and "/resolve/" in path]


def test_a_wrong_file_is_removed_and_named(hub, tmp_path):
    hub.lies.add(STATE)
    with (
        serving(hub) as endpoint,
        pytest.raises(DownloadError, match="mp_rank_00_model_states.pt has sha256.*removed"),
    ):
        download("gen_rgba", tmp_path, endpoint=endpoint)
    assert (
        not (tmp_path / "layerflow" / STATE).exists()
        and not (tmp_path / "layerflow" / "gen_rgba.source.json").exists()
    )


def test_what_cannot_be_had_is_named(hub, tmp_path):
    with pytest.raises(DownloadError, match="expected one of gen_rgb"):
        download("gen", tmp_path)
    with (
        serving(hub) as endpoint,
        pytest.raises(DownloadError, match="has no multi-layer-decomposition-rgb"),
    ):
        download("seg_rgb", tmp_path, endpoint=endpoint)
    with pytest.raises(DownloadError, match="zjuJish/LayerFlow cannot be fetched"):
        download("gen_rgba", tmp_path, endpoint=endpoint)  # the server is gone
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b'{"revision": 3}',
        b'{"revision": ""}',
        b'{"revision": "../x"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"revision": null}',
    ],
)
def test_a_damaged_record_is_named(text, tmp_path):
    record = tmp_path / "layerflow" / "gen_rgba.source.json"
    record.parent.mkdir()
    record.write_bytes(text)
    with pytest.raises(DownloadError, match="gen_rgba.source.json.*remove this file"):
        download("gen_rgba", tmp_path)


def test_a_revision_is_no_path(tmp_path):
    for revision in ("../../x", "a b", "x" * 500, "\0"):
        with pytest.raises(DownloadError, match="expected a commit"):
            download("gen_rgba", tmp_path, revision)


def test_every_row_lands_where_the_loader_looks():
    assert {source.place for source in SOURCES.values()} == {"layerflow", "CogVideo/CogVideoX-2b"}


def test_the_node_downloads_in_a_process_that_can_be_cancelled(hub, host, pack, monkeypatch):
    node = pack.NODE_CLASS_MAPPINGS["DownloadLayerFlow"]()
    with serving(hub) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert node.download("gen_rgba", OLD) == (str(host.models / "layerflow"),)
        assert (host.models / "layerflow" / STATE).read_bytes() == b"old weights"
        with pytest.raises(Exception, match="has no multi-layer-decomposition-rgb"):
            node.download("seg_rgb", "")
        monkeypatch.setattr(host, "interrupt", True)
        with pytest.raises(host.interrupted):
            node.download("gen_rgba", NEW)


def test_too_little_room_is_said_before_a_byte_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    with serving(hub) as endpoint, pytest.raises(DownloadError, match="GB are free there"):
        download("gen_rgba", tmp_path, endpoint=endpoint)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_download_becomes_one_file(tmp_path):
    folder = tmp_path / "layerflow" / released_folder("seg_rgba")
    write_released(folder / "1000" / "mp_rank_00_model_states.pt", "seg_rgba")
    (tmp_path / "layerflow" / "tokenizer").mkdir()
    (tmp_path / "layerflow" / "tokenizer" / "tokenizer.json").write_text(tokenizer_json())
    target = convert_download("seg_rgba", tmp_path)
    assert load_model(target).config.layout.name == "seg_rgba" and not folder.exists()
    with pytest.raises(DownloadError, match="only checkpoints are converted"):
        convert_download("CogVideoX-2b", tmp_path)
