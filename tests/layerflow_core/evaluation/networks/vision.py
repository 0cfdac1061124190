"""A vision transformer written out from its authors' tensors: independent of the libraries that are tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def attend(x: Tensor, weight: Tensor, bias: Tensor, heads: int, mask: Tensor | float = 0) -> Tensor:
    """[B, N, D] before the last projection; queries, keys and values in one matrix."""
    q, k, v = (part.unflatten(2, (heads, -1)) for part in F.linear(x, weight, bias).chunk(3, 2))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[3] ** 0.5 + mask
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(3), v).flatten(2)


def norm(x: Tensor, state: State, name: str, epsilon: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], epsilon)


def linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def clip_block(x: Tensor, state: State, name: str, heads: int, mask: Tensor | float = 0) -> Tensor:
    """A block of OpenAI's CLIP, by its names."""
    joined = state[f"{name}.attn.in_proj_weight"], state[f"{name}.attn.in_proj_bias"]
    inside = attend(norm(x, state, f"{name}.ln_1"), *joined, heads, mask)
    x = x + linear(inside, state, f"{name}.attn.out_proj")
    hidden = linear(norm(x, state, f"{name}.ln_2"), state, f"{name}.mlp.c_fc")
    return x + linear(hidden * torch.sigmoid(1.702 * hidden), state, f"{name}.mlp.c_proj")


def random_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Of these shapes; norms are near 1."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        middle = 1.0 if is_norm(name) else 0.0
        state[name] = middle + 0.1 * torch.randn(shape, generator=generator)
    return state


def is_norm(name: str) -> bool:
    return name.endswith(".weight") and ("ln_" in name or "norm" in name)


def clip_shapes(prefix: str, width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Of blocks, by OpenAI's names."""
    shapes: dict[str, tuple[int, ...]] = {}
    parts: dict[str, Callable[[int], tuple[int, ...]]] = {
        "attn.in_proj_weight": lambda d: (3 * d, d),
        "attn.in_proj_bias": lambda d: (3 * d,),
        "attn.out_proj.weight": lambda d: (d, d),
        "attn.out_proj.bias": lambda d: (d,),
        "ln_1.weight": lambda d: (d,),
        "ln_1.bias": lambda d: (d,),
        "mlp.c_fc.weight": lambda d: (4 * d, d),
        "mlp.c_fc.bias": lambda d: (4 * d,),
        "mlp.c_proj.weight": lambda d: (d, 4 * d),
        "mlp.c_proj.bias": lambda d: (d,),
        "ln_2.weight": lambda d: (d,),
        "ln_2.bias": lambda d: (d,),
    }
    for number in range(layers):
        for part, shape in parts.items():
            shapes[f"{prefix}{number}.{part}"] = shape(width)
    return shapes
