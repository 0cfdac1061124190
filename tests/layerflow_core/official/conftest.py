import pytest

from layerflow_core.toy.captions import tokenizer_json


@pytest.fixture
def tokenizer(tmp_path):
    """A folder as people have it."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder
