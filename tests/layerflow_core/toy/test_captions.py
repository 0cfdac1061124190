from tokenizers import Tokenizer

from layerflow_core.layout import indexed
from layerflow_core.toy.captions import END, TOKENS_PER_TEXT, UNKNOWN, tokenizer_json, vocabulary
from layerflow_core.toy.world import draw_scenes


def test_every_caption_is_known_and_fits():
    tokenizer, words = Tokenizer.from_str(tokenizer_json()), vocabulary()
    for scene in draw_scenes(200, 0):
        for i, prompt in enumerate(scene.prompts.values()):
            ids = tokenizer.encode(indexed(i, prompt)).ids
            assert words.index(UNKNOWN) not in ids
            assert ids[-1] == words.index(END) and len(ids) <= TOKENS_PER_TEXT, (prompt, len(ids))
