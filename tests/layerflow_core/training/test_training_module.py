import pytest
import torch

from layerflow_core.training.training_module import TrainingModule


def test_a_module_without_a_loss_says_so():
    with pytest.raises(NotImplementedError):
        TrainingModule()({"x": torch.zeros(1)})


def test_a_module_need_not_log_or_hold_anything():
    module = TrainingModule()
    assert module.metrics() == {}
    with module.step_context({}) as nothing:
        assert nothing is None
