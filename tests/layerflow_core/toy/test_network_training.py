import torch

from layerflow_core.model.text import TextEncoder
from layerflow_core.toy.captions import TOKENS_PER_TEXT, tokenizer_json
from layerflow_core.toy.network_training import token_ids


def test_ids_are_those_of_the_indexed_prompts(module):
    encoder = TextEncoder.from_data(tokenizer_json().encode(), module.t5, TOKENS_PER_TEXT)
    star = "a red solid star"
    ids = token_ids(encoder, [[star, star, "a night sky"], [star, "a night sky", star]])
    assert ids.shape == (2, 3, TOKENS_PER_TEXT)
    assert torch.equal(ids[0, 0], ids[1, 0])
    # The same words are another text in another segment.
    assert not torch.equal(ids[0, 0], ids[0, 1])
    assert not torch.equal(ids[0, 2], ids[1, 1])
