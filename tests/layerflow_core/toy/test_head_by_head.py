import pytest
import torch
import torch.nn.functional as F

from layerflow_core.toy.head_by_head import HeadByHead


def draw() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, 10, 8, requires_grad=True) for _ in "qkv"]


def test_values_and_gradients_are_the_fused_kernel_s():
    inputs = draw()
    expected = F.scaled_dot_product_attention(*inputs)
    expected.square().sum().backward()
    wanted = [x.grad.clone() for x in inputs]
    for x in inputs:
        x.grad = None
    with HeadByHead():
        found = F.scaled_dot_product_attention(*inputs)
    found.square().sum().backward()
    assert torch.allclose(found, expected, atol=1e-6)
    for x, gradient in zip(inputs, wanted, strict=True):
        assert torch.allclose(x.grad, gradient, atol=1e-5)


@pytest.mark.parametrize("changed", [{"is_causal": True}, {"scale": 2.0}, {"attn_mask": 0}])
def test_calls_with_more_than_query_key_and_value_are_left_alone(changed):
    inputs = draw()
    if "attn_mask" in changed:
        changed = {"attn_mask": torch.eye(10, dtype=torch.bool)}
    expected = F.scaled_dot_product_attention(*inputs, **changed)
    with HeadByHead():
        found = F.scaled_dot_product_attention(*inputs, **changed)
    assert torch.equal(found, expected)
