import sys

import pytest

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.metric_networks import MetricNetworks


def test_a_missing_package_is_named_when_its_network_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lpips", None)
    networks = MetricNetworks(tmp_path)
    with pytest.raises(EvaluationError, match="LPIPS needs the package lpips.*pip install lpips"):
        assert networks.lpips
