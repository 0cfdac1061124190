import sys

import pytest

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.packages import import_package


def test_a_package_is_imported_or_named(monkeypatch):
    assert import_package("json", "json", "a test").loads("1") == 1
    monkeypatch.setitem(sys.modules, "colorsys", None)
    with pytest.raises(EvaluationError, match="a test needs the package colours.*pip install"):
        import_package("colorsys", "colours", "a test")
