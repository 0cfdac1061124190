import json
from pathlib import Path

import pytest

from layerflow_core.errors import VideoFileError
from layerflow_core.video.packages import import_package


def test_a_module_that_is_here_is_handed_out():
    assert import_package("json", "json", Path("a.exr"), "read") is json


def test_a_missing_one_is_named_as_pip_knows_it():
    with pytest.raises(VideoFileError, match="a.psd cannot be written.*pip install psd-tools"):
        import_package("no_such_module_psd", "psd-tools", Path("a.psd"), "written")
