import copy
import json

import pytest
import torch

from layerflow_core.errors import CheckpointError, PromptError
from layerflow_core.layout import find_layout, indexed
from layerflow_core.model.fp8 import widened
from layerflow_core.model.text import CACHED_SETS, TextEncoder, prepare_t5
from layerflow_core.runtime.memory import size_of

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
    assert text.encode("0, a green ring").data_ptr() == first.data_ptr()
    for i in range(CACHED_SETS):
        text.encode(f"0, filler {i} " + "star " * (i % 7))
    again = text.encode("0, a green ring")
    assert again.data_ptr() != first.data_ptr() and torch.equal(again, first)


def test_prompts_of_a_run_are_one_pass_and_depend_on_nothing_before(embedded):
    fresh = [TextEncoder(embedded.text.tokenizer, embedded.text.t5, 16) for _ in range(2)]
    prompts = {"foreground": "a red star", "background": "a blue sky", "blended": "both"}
    passes = []
    handle = embedded.text.t5.register_forward_hook(lambda *_: passes.append(1))
    expected = fresh[0].encode_layers(prompts, ROW)
    assert len(passes) == 1
    assert fresh[0].is_cached(prompts, ROW) and not fresh[1].is_cached(prompts, ROW)
    fresh[1].encode_layers({"foreground": "a red star"}, ROW)
    fresh[1].encode("0, a red star")
    assert torch.equal(fresh[1].encode_layers(prompts, ROW), expected)
    handle.remove()


@pytest.fixture
def loud_t5(embedded):
    """An encoder whose feed-forward layers give values beyond the range of fp16, as T5-XXL's do."""
    t5 = copy.deepcopy(embedded.text.t5)
    for block in t5.encoder.block:
        block.layer[-1].DenseReluDense.wo.weight.mul_(1e6)
    return t5.half()


def test_fp16_is_sound_where_the_last_matrix_is_wide(loud_t5, embedded):
    blocks = loud_t5.encoder.block
    for block in blocks:
        block.layer[-1].DenseReluDense.wo.weight.clamp_(-6e4, 6e4)
    ids = embedded.text.token_ids("0, a red star")[None]
    wide = copy.deepcopy(loud_t5)
    prepare_t5(wide)
    assert wide.encoder.block[0].layer[-1].DenseReluDense.wo.weight.dtype == torch.float32
    with torch.inference_mode():
        expected = copy.deepcopy(loud_t5).float()(input_ids=ids).last_hidden_state
        narrow = loud_t5(input_ids=ids).last_hidden_state
        found = wide(input_ids=ids).last_hidden_state
    assert found.dtype == torch.float16 and found.isfinite().all()
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()
    assert (narrow - expected).abs().max() > 0.02 * expected.abs().max(), "or this shows nothing"


def test_an_encoder_in_8_bits_is_near(embedded):
    t5 = copy.deepcopy(embedded.text.t5)
    before = size_of(t5.encoder.block)
    prepare_t5(t5, fp8=True)
    assert size_of(t5.encoder.block) < 0.5 * before
    ids = embedded.text.token_ids("0, a red star")[None]
    with torch.inference_mode(), widened(t5):
        found = t5(input_ids=ids).last_hidden_state
    expected = embedded.text.encode("0, a red star")
    assert (found - expected).norm() < 0.1 * expected.norm()


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
