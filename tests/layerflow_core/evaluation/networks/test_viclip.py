import pytest
import torch
import torch.nn.functional as F

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.preprocessing import clip_frames, middle_frames
from layerflow_core.evaluation.networks.viclip import TextAlignment, ViClip, ViClipSize

from .vision import clip_block, clip_shapes, norm, random_state

CPU = torch.device("cpu")
SIZE = ViClipSize(16, 2, 2, 56, 224, 12, 2, 2, 6, 521)
SHAPES = {
    "vision_encoder.conv1.weight": (16, 3, 1, 56, 56),
    "vision_encoder.class_embedding": (16,),
    "vision_encoder.positional_embedding": (17, 16),
    "vision_encoder.temporal_positional_embedding": (1, 8, 16),
    "vision_encoder.ln_pre.weight": (16,),
    "vision_encoder.ln_pre.bias": (16,),
    "vision_encoder.ln_post.weight": (16,),
    "vision_encoder.ln_post.bias": (16,),
    "vision_encoder.proj": (16, 6),
    **clip_shapes("vision_encoder.transformer.resblocks.", 16, 2),
    "text_encoder.token_embedding.weight": (521, 12),
    "text_encoder.positional_embedding": (32, 12),
    "text_encoder.ln_final.weight": (12,),
    "text_encoder.ln_final.bias": (12,),
    "text_encoder.text_projection": (12, 6),
    **clip_shapes("text_encoder.transformer.resblocks.", 12, 2),
    "temp": (),
}
STATE = random_state(SHAPES)
WORDS = "#version\nr e\nre d</w>\ns t\nst a\nsta r</w>\nt h\nth e</w>\n"


def of_clip(frames: torch.Tensor) -> torch.Tensor:
    """In the order of the public code: all frames of a place, then the next place."""
    name = "vision_encoder"
    images = clip_frames(frames[middle_frames(len(frames))], in_bytes=True)
    patches = F.conv2d(images, STATE[f"{name}.conv1.weight"][:, :, 0], stride=56)
    places = STATE[f"{name}.positional_embedding"]
    patches = patches.flatten(2).transpose(1, 2) + places[1:]
    moments = patches.transpose(0, 1) + STATE[f"{name}.temporal_positional_embedding"]
    start = (STATE[f"{name}.class_embedding"] + places[0])[None]
    x = norm(torch.cat([start, moments.flatten(0, 1)])[None], STATE, f"{name}.ln_pre")
    for number in range(2):
        x = clip_block(x, STATE, f"{name}.transformer.resblocks.{number}", 2)
    return norm(x[:, 0], STATE, f"{name}.ln_post") @ STATE[f"{name}.proj"]


def of_text(ids: list[int]) -> torch.Tensor:
    name = "text_encoder"
    padded = torch.tensor(ids + [0] * (32 - len(ids)))
    x = STATE[f"{name}.token_embedding.weight"][padded] + STATE[f"{name}.positional_embedding"]
    x = x[None]
    causal = torch.full((32, 32), -torch.inf).triu(1)
    for number in range(2):
        x = clip_block(x, STATE, f"{name}.transformer.resblocks.{number}", 2, causal)
    return norm(x[:, len(ids) - 1], STATE, f"{name}.ln_final") @ STATE[f"{name}.text_projection"]


@pytest.fixture
def folder(tmp_path):
    torch.save({"model": STATE}, tmp_path / "ViClip-InternVid-10M-FLT.pth")
    (tmp_path / "merges.txt").write_text(WORDS)
    return tmp_path


def test_names_and_parameters_are_those_of_the_public_file():
    with torch.device("meta"):
        state = ViClip().state_dict()
    assert sum(value.numel() for value in state.values()) == 427_590_145
    assert len(state) == 447
    assert state["vision_encoder.conv1.weight"].shape == (1024, 3, 1, 14, 14)
    assert state["text_encoder.positional_embedding"].shape == (32, 768)
    with torch.device("meta"):
        tiny = ViClip(SIZE).state_dict()
    assert {key: tuple(value.shape) for key, value in tiny.items()} == SHAPES


@pytest.mark.parametrize("count", [16, 5])
def test_both_towers_compute_what_the_public_code_does(folder, count):
    generator = torch.Generator().manual_seed(1)
    frames = (torch.rand(count, 3, 240, 300, generator=generator) * 255).round()
    expected = F.cosine_similarity(of_clip(frames), of_text([519, 518, 513, 516, 520]))
    score = TextAlignment(folder, CPU, SIZE).score(frames, "the red star")
    assert score == pytest.approx(float(expected), abs=1e-5)


def test_another_network_and_missing_words_are_named(folder):
    torch.save({"model": {"temp": torch.zeros(())}}, folder / "ViClip-InternVid-10M-FLT.pth")
    with pytest.raises(EvaluationError, match="another network"):
        TextAlignment(folder, CPU, SIZE)
    (folder / "merges.txt").unlink()
    with pytest.raises(EvaluationError, match="CLIP's list of merges is missing"):
        TextAlignment(folder, CPU, SIZE)
