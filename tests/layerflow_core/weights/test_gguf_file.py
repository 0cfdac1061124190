import struct
import sys

import pytest
import torch

from benchmarks.small_parts import build_small_t5, write_t5_gguf
from layerflow_core.errors import CheckpointError
from layerflow_core.model.text import build_t5, untie
from layerflow_core.weights import gguf_file
from layerflow_core.weights.checkpoint import load_strictly
from layerflow_core.weights.components import read_text_encoder
from layerflow_core.weights.gguf_file import GgufFile, t5_names

from ...peak_memory import limit_memory

pytest.importorskip("gguf")
WIDTH = 32
IDS = torch.arange(12)[None]
# As llama.cpp's converter spells T5's encoder.
NAMES = {
    "token_embd.weight": "shared.weight",
    "enc.blk.1.attn_q.weight": "encoder.block.1.layer.0.SelfAttention.q.weight",
    "enc.blk.0.attn_rel_b.weight": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "enc.blk.0.attn_norm.weight": "encoder.block.0.layer.0.layer_norm.weight",
    "enc.blk.1.ffn_gate.weight": "encoder.block.1.layer.1.DenseReluDense.wi_0.weight",
    "enc.blk.1.ffn_up.weight": "encoder.block.1.layer.1.DenseReluDense.wi_1.weight",
    "enc.blk.1.ffn_down.weight": "encoder.block.1.layer.1.DenseReluDense.wo.weight",
    "enc.blk.1.ffn_norm.weight": "encoder.block.1.layer.1.layer_norm.weight",
    "enc.output_norm.weight": "encoder.final_layer_norm.weight",
}


def write_t5(path, kind="F32"):
    t5 = build_small_t5(WIDTH)
    tensors = {k: v for k, v in t5.state_dict().items() if "embed_tokens" not in k}
    write_t5_gguf(path, tensors, kind)
    return t5


def encode(t5):
    with torch.inference_mode():
        return t5(input_ids=IDS).last_hidden_state


def encode_part(part):
    module = build_t5(part.config)
    tensors = untie(part.tensors.read(part.tensors.specs), set(module.state_dict()))
    load_strictly(module, tensors, "text encoder")
    return encode(module.float())


def test_names_are_llama_cpps():
    assert t5_names([*NAMES, "dec.blk.0.attn_q.weight", "enc.blk.0.attn_q.bias"]) == {
        ours: theirs for theirs, ours in NAMES.items()
    }


@pytest.mark.parametrize(
    ("kind", "error"),
    [("F32", 0), ("F16", 1e-3), ("BF16", 1e-2), ("Q8_0", 0.02), ("Q5_0", 0.1), ("Q4_0", 0.2)],
)
def test_a_t5_of_every_kind_encodes(kind, error, tmp_path):
    t5 = write_t5(tmp_path / "t5.gguf", kind)
    part = read_text_encoder(tmp_path / "t5.gguf")
    assert part.config["d_model"] == WIDTH and part.config["num_layers"] == 2
    expected = encode(t5)
    found = float((encode_part(part) - expected).norm() / expected.norm())
    assert found <= error and (found > 0 or kind == "F32")


def test_shapes_are_known_before_anything_is_read(tmp_path, monkeypatch):
    t5 = write_t5(tmp_path / "t5.gguf", "Q8_0")
    monkeypatch.setattr(gguf_file, "read_stretch", None)
    file = GgufFile(tmp_path / "t5.gguf")
    spec = file.specs["enc.blk.0.ffn_up.weight"]
    assert spec.shape == t5.state_dict()["encoder.block.0.layer.1.DenseReluDense.wi_1.weight"].shape
    assert spec.is_meta and spec.dtype == torch.bfloat16


def test_without_the_library_it_is_asked_for(tmp_path, monkeypatch):
    write_t5(tmp_path / "t5.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match="pip install gguf"):
        read_text_encoder(tmp_path / "t5.gguf")


def header(*parts: bytes, version=3, tensors=0, entries=0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + b"".join(parts)


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def tensor(shape, kind=0, at=0, name=b"token_embd.weight") -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, at)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF", "header that ends"),
        (header(version=9), "version 9"),
        (header(tensors=2**60), "tensors, expected"),
        (header(entries=2**60), "entries, expected"),
        (header(struct.pack("<Q", 2**62), entries=1), "name of"),
        (header(text(b"x"), struct.pack("<I", 77), entries=1), "entry of type 77"),
        (header(text(b"x"), struct.pack("<IIQ", 9, 9, 5), entries=1), "array of type 9"),
        (header(text(b"x"), struct.pack("<IIQ", 9, 4, 2**60), entries=1), "header that ends"),
        (header(text(b"x"), struct.pack("<IIQ", 9, 8, 2**60), entries=1), "header that ends"),
        (header(text(b"general.alignment"), struct.pack("<II", 4, 0), entries=1), "alignment of 0"),
        (header(tensor([4, 4]), tensors=1), "beyond the file's end"),
        (header(tensor([2**62, 2**62]), tensors=1), "of shape"),
        (header(tensor([4, 0]), tensors=1), "of shape"),
        (header(tensor([4] * 9), tensors=1), "9 dimensions"),
        (header(tensor([5], kind=8), tensors=1), "of shape"),
        (header(tensor([4], kind=12345), tensors=1), "of type 12345"),
        (header(tensor([4], at=2**63), tensors=1), "beyond the file's end"),
    ],
)
def test_what_a_file_says_is_bounded(data, message, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with limit_memory(16 * 1024**2), pytest.raises(CheckpointError, match=message):
        GgufFile(path)


def test_a_file_of_another_model_is_no_t5(tmp_path):
    (tmp_path / "other.gguf").write_bytes(header())
    with pytest.raises(CheckpointError, match="not a T5 encoder"):
        read_text_encoder(tmp_path / "other.gguf")
    assert gguf_file.GgufFile(tmp_path / "other.gguf").specs == {}
