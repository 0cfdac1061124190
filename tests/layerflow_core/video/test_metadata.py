import json

from layerflow_core.video.metadata import as_texts


def test_text_stays_and_all_else_becomes_json():
    graph = {"1": {"class_type": "SaveLayers", "inputs": {"fps": 8.0}}}
    texts = as_texts({"comment": "a dog", "prompt": graph, "seed": 3, "none": None})
    assert texts["comment"] == "a dog"
    assert json.loads(texts["prompt"]) == graph
    assert (texts["seed"], texts["none"]) == ("3", "null")


def test_what_files_hold_is_ascii_whatever_a_graph_says():
    (text,) = as_texts({"workflow": {"title": "caf\u00e9 \U0001f415"}}).values()
    assert text.isascii() and json.loads(text)["title"] == "caf\u00e9 \U0001f415"
