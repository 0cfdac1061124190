from pathlib import Path

import pytest
import torch

from layerflow_core.errors import CheckpointError, LayoutError
from layerflow_core.layout import OFFICIAL_VARIANTS, find_layout
from layerflow_core.official.conversion import open_official
from layerflow_core.official.keys import POSITIONS
from layerflow_core.official.variants import choose_variant, detect_variant, read_config
from layerflow_core.official.verification import GOLDEN

# Rows of the released position tables, as the official configuration builds them.
RELEASED = {
    "gen_rgb": 18228,
    "gen_rgba": 22278,
    "seg_rgb": 18002,
    "seg_rgba": 22052,
    "fg2bg_rgb": 18228,
    "fg2bg_rgba": 23628,
    "bg2fg_rgb": 18228,
    "bg2fg_rgba": 23628,
}
# What no shape can tell apart.
ALIKE = [
    {"gen_rgb", "fg2bg_rgb", "bg2fg_rgb"},
    {"fg2bg_rgba", "bg2fg_rgba"},
    {"gen_rgba"},
    {"seg_rgb"},
    {"seg_rgba"},
]


def specs_of(variant: str, width: int = 1920, blocks: int = 30) -> dict[str, torch.Tensor]:
    shapes = {
        POSITIONS: (1, RELEASED[variant], width),
        "mixins.patch_embed.text_proj.weight": (width, 4096),
        "mixins.patch_embed.proj.weight": (width, 16, 2, 2),
        "mixins.adaln_layer.query_layernorm_list.0.weight": (64,),
        "time_embed.0.weight": (512, width),
        "transformer.layers.0.attention.dense.matrix_C.0": (256, width),
    }
    if find_layout(variant).layer_embedding:
        shapes["mixins.pos_embed.txt_embedder.0.weight"] = (width, 1)
    shapes |= {f"transformer.layers.{i}.input_layernorm.weight": (width,) for i in range(blocks)}
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("variant", OFFICIAL_VARIANTS)
def test_shapes_tell_the_variant_as_far_as_they_can(variant):
    assert set(detect_variant(specs_of(variant))) == next(
        group for group in ALIKE if variant in group
    )


@pytest.mark.parametrize(
    ("path", "variant"),
    [
        ("models/multi-layer-generation-rgb/1000/x.pt", "gen_rgb"),
        ("models/foreground-conditioned-generation-rgba", "fg2bg_rgba"),
        ("background-conditioned-generation-rgb", "bg2fg_rgb"),
        ("downloads/layerflow_bg2fg_rgba.pt", "bg2fg_rgba"),
        ("downloads/x.pt", None),
        ("downloads/not_fg2bg_rgbas.pt", None),
    ],
)
def test_names_tell_the_rest(path, variant):
    specs = specs_of(variant or "bg2fg_rgba")
    if variant:
        assert choose_variant(specs, Path(path)) == variant
    else:
        with pytest.raises(CheckpointError, match="fg2bg_rgba, bg2fg_rgba.*--variant"):
            choose_variant(specs, Path(path))


def test_no_known_variant():
    assert detect_variant({}) == ()
    with pytest.raises(CheckpointError, match="no known variant"):
        choose_variant({}, Path("x.pt"))


@pytest.mark.parametrize("variant", OFFICIAL_VARIANTS)
def test_a_released_file_is_of_480_x_720(variant):
    network = read_config(specs_of(variant), variant).network
    assert (
        network.latent_height,
        network.latent_width,
        network.num_attention_heads,
        network.content_rank,
        network.motion_rank,
    ) == (60, 90, 30, 256, 0)


def test_a_small_file_tells_its_size_too():
    file = open_official(GOLDEN / "gen_rgba.ckpt.safetensors")
    network = read_config(file.specs, "gen_rgba").network
    assert (network.latent_height, network.latent_width) == (6, 8)
    network = read_config(file.specs, "gen_rgba", (4, 12)).network
    assert (network.latent_height, network.latent_width) == (4, 12)


def test_a_2b_file_must_have_all_its_blocks():
    with pytest.raises(CheckpointError, match="got 29 blocks.*30"):
        read_config(specs_of("gen_rgba", blocks=29), "gen_rgba")


def test_a_variant_that_does_not_fit_is_refused():
    with pytest.raises(LayoutError, match="gen_rgba"):
        read_config(specs_of("gen_rgba"), "gen_rgbaz")
    with pytest.raises(
        CheckpointError,
        match="'seg_rgb' does not fit a position table of 22278 rows; by its shapes the file is gen_rgba",
    ):
        read_config(specs_of("gen_rgba"), "seg_rgb")
