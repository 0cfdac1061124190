import json

import pytest
import torch

from layerflow_core.errors import CheckpointError, PromptError
from layerflow_core.layout import find_layout, indexed
from layerflow_core.model.text import CACHED_PROMPTS, TextEncoder

ROW = find_layout("gen_rgba")


def test_each_prompt_is_encoded_alone_with_its_index(embedded):
    text = embedded.text
    context = text.encode_layers(
        {"foreground": "a red star", "background": "a blue sky", "blended": "both"}, ROW
    )
    assert context.shape == (1, 3 * text.tokens, text.width)
    for i, prompt in enumerate(("a red star", "a blue sky", "both")):
        assert torch.equal(
            context[0, i * text.tokens : (i + 1) * text.tokens], text.encode(f"{i}, {prompt}")
        )
    assert indexed(2, "x") == "2, x"


def test_a_missing_prompt_is_zeros(embedded):
    text = embedded.text
    context = text.encode_layers({"background": "a blue sky", "foreground": "  "}, ROW)[
        0
    ].unflatten(0, (3, -1))
    assert not context[0].any() and context[1].any() and not context[2].any()


def test_encoding_is_cached_and_equal(embedded):
    text = embedded.text
    first = text.encode("0, a green ring")
    assert text.encode("0, a green ring") is first
    for i in range(CACHED_PROMPTS):
        text.encode(f"0, filler {i} " + "star " * (i % 7))
    again = text.encode("0, a green ring")
    assert again is not first and torch.equal(again, first)


def test_long_prompts_are_cut_and_counted(embedded):
    text = embedded.text
    assert text.count_tokens("a red star") == 4
    assert text.count_tokens("star " * 100) == 101  # what was meant, not what is left of it
    assert text.truncated({"foreground": "star " * 100, "background": "a red star"}, ROW) == {
        "foreground": text.count_tokens("0, " + "star " * 100)
    }
    assert text.token_ids("star " * 100).shape == (text.tokens,)


@pytest.mark.parametrize("prompts", [{}, {"foreground": ""}, {"foreground": "  \n"}])
def test_no_prompts(embedded, prompts):
    with pytest.raises(PromptError, match="no prompts"):
        embedded.text.encode_layers(prompts, ROW)


def test_prompt_for_a_layer_that_is_not_there(embedded):
    with pytest.raises(PromptError, match="shadow"):
        embedded.text.encode_layers({"foreground": "a", "shadow": "b"}, ROW)
    with pytest.raises(PromptError, match="int"):
        embedded.text.encode_layers({"foreground": 3}, ROW)
    with pytest.raises(PromptError, match="surrogate"):
        embedded.text.encode_layers({"foreground": "a \ud83d dog"}, ROW)


def test_damaged_tokenizer(embedded):
    with pytest.raises(CheckpointError, match="tokenizer"):
        TextEncoder.from_data(b"{", embedded.text.t5, 8)


def test_what_is_too_long_is_counted_before_it_is_cut(quick_model, caplog):
    from layerflow_core.pipeline import Run, make_layers
    from layerflow_core.sampling.sampler import SamplerSettings

    text = quick_model.require_text()
    layout = quick_model.config.layout
    long = "a red solid circle moving right " * 9
    counts = text.truncated({"foreground": long, "background": "a sunset", "blended": ""}, layout)
    assert list(counts) == ["foreground"] and counts["foreground"] > text.tokens
    assert text.count_tokens("a sunset") == sum(text.tokenizer.encode("a sunset").attention_mask)
    half = " ".join(long.split()[: len(long.split()) // 2])
    assert counts["foreground"] == pytest.approx(2 * text.count_tokens(half), abs=6)
    with caplog.at_level("WARNING", "layerflow"):
        make_layers(quick_model, Run({"foreground": long}, {}, SamplerSettings(1, "constant", 1.0)))
    assert f"foreground has {counts['foreground']} tokens" in caplog.text


def test_a_tokenizer_that_panics_when_it_is_used(embedded):
    """Its end mark is a token that it does not have: found by the abuse harness."""
    content = json.loads(embedded.text.tokenizer.to_str())
    content["post_processor"]["single"][1]["SpecialToken"]["id"] = "__class__"
    data = json.dumps(content).encode()
    with pytest.raises(CheckpointError, match="tokenizer cannot be used: .*; take T5's own"):
        TextEncoder.from_data(data, embedded.text.t5, 16).encode("a dog")
