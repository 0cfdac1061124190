"""What is not the file it should be is called by its name, wherever a model file is opened."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.errors import CheckpointError, LayerFlowError
from layerflow_core.model.lora_file import read_lora
from layerflow_core.official.conversion import open_official, read_any
from layerflow_core.weights.checkpoint import read_checkpoint
from layerflow_core.weights.components import read_text_encoder, read_tokenizer, read_vae
from layerflow_core.weights.file_kind import SAFETENSORS, TORCH, find_kind
from layerflow_core.weights.weight_file import open_weights


def zipped(name: str, data: bytes):
    def write(path):
        with zipfile.ZipFile(path, "w") as target:
            target.writestr(name, data)

    return write


def begun(write, share: float = 0.5):
    """A file whose download broke off."""

    def cut(path):
        write(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return cut


def script(path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 27300000000\n"
WRONG = {
    "a Git LFS pointer": (POINTER, "Git LFS pointer.*git lfs pull"),
    "a web page": (
        b"<!DOCTYPE html><html><head><title>Hugging Face</title>",
        "a web page.*direct download link",
    ),
    "a page with a mark": (b"\n  <HTML lang='en'>", "a web page"),
    "a page behind a byte order mark": (b"\xef\xbb\xbf<!DOCTYPE html><html>", "a web page"),
    "a page in UTF-16": ("<!DOCTYPE html><html>".encode("utf-16"), "a web page"),
    "a page that begins with a comment": (b"<!-- 403 --><html>", "a web page"),
    "a page that begins with a script": (
        b"<script>window.location='/login'</script>",
        "a web page",
    ),
    "XML without its declaration": (b"<Error><Code>AccessDenied</Code></Error>", "a web page"),
    "a server's text in UTF-8": (
        "Acc\u00e8s refus\u00e9 ".encode() * 100,
        "bytes of text that begin with 'Acc.xe8s refus.xe9",
    ),
    "bzip2": (bz2.compress(b"x" * 1000), "a bzip2 archive.*unpack"),
    "xz": (lzma.compress(b"x" * 1000), "an xz archive.*unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(100), "a zstd archive.*unpack"),
    "tar": (
        b"model.safetensors".ljust(257, b"\0") + b"ustar\x0000" + bytes(300),
        "a tar archive.*unpack",
    ),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "an empty file": (b"", "an empty file.*get the file again"),
    "a server's JSON": (
        b'{"error":"Repository not found"}',
        "bytes of text that begin with.*Repository not found",
    ),
    "a server's text": (
        b"Invalid username or password.",
        "bytes of text that begin with.*Invalid username",
    ),
    "one word": (b"Unauthorized", "12 bytes of text"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(100), "a GGUF file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "gzip": (gzip.compress(b"x" * 1000), "a gzip archive.*unpack"),
    "a zip": (zipped("readme.txt", b"hello"), "a zip archive that is no torch file"),
    "a pickle": (pickle.dumps({"a": [1, 2, 3]}), "a bare pickle"),
    "TorchScript": (script, "a TorchScript program"),
    "old torch": (
        lambda path: torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False),
        "format from before version 1.6",
    ),
    "half a torch file": (
        begun(lambda path: torch.save({"a": torch.ones(500)}, path)),
        "without its end.*get the file again",
    ),
    "noise": (bytes(range(128, 256)) * 4, "of no known kind"),
}
READERS = {
    "weights": open_weights,
    "a checkpoint": read_any,
    "our checkpoint": read_checkpoint,
    "an official one": open_official,
    "T5": read_text_encoder,
    "VAE": read_vae,
    "LoRA": read_lora,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("wrong", WRONG)
def test_every_reader_says_what_it_is(wrong, ending, tmp_path):
    content, text = WRONG[wrong]
    path = tmp_path / f"model{ending}"
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    for read in READERS.values():
        with pytest.raises(CheckpointError, match=text) as caught:
            read(path)
        assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_truncated_safetensors(share, tmp_path):
    path = tmp_path / "a.safetensors"
    begun(lambda path: save_file({"a": torch.ones(500), "b": torch.ones(3)}, path), share)(path)
    for read in READERS.values():
        with pytest.raises(CheckpointError, match="a.safetensors.*(copy is not complete|damaged)"):
            read(path)


def test_the_ending_does_not_decide(tmp_path):
    tensors = {"a": torch.arange(3.0)}
    save_file(tensors, tmp_path / "a.pt")
    torch.save(tensors, tmp_path / "a.safetensors")
    assert (
        find_kind(tmp_path / "a.pt") == SAFETENSORS
        and find_kind(tmp_path / "a.safetensors") == TORCH
    )
    for name in ("a.pt", "a.safetensors"):
        assert open_weights(tmp_path / name).read(["a"])["a"].tolist() == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    for read in READERS.values():
        with pytest.raises(CheckpointError, match="not a regular file"):
            read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content, text",
    [
        (POINTER, "Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"", "an empty file"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"[" * 1_000_000, "cannot be read as JSON"),
    ],
)
@pytest.mark.parametrize("in_folder", [True, False])
def test_a_wrong_tokenizer(in_folder, content, text, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"tokenizer.json.*{text}"):
        read_tokenizer(tmp_path if in_folder else file)


@pytest.mark.parametrize(
    "content", [POINTER, b"", b"noise" * 100, b"\x0a\xff\xff\xff\xff\x0f", bytes(range(256))]
)
def test_a_wrong_vocabulary(content, tmp_path):
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(CheckpointError, match="spiece.model"):
        read_tokenizer(tmp_path)


def train_vocabulary(folder):
    """A small sentencepiece model as T5 has one."""
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = [
        f"a {colour} {thing} moves over the {place}"
        for colour in ("red", "blue", "green")
        for thing in ("star", "dog", "car")
        for place in ("street", "sea")
    ]
    (folder / "text.txt").write_text("\n".join(lines * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=25,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))


def test_a_vocabulary_alone_gives_the_tokenizer(tmp_path):
    """What lies beside it could name code to load, and is not looked at."""
    from tokenizers import Tokenizer

    own = train_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "auto_map": {"AutoTokenizer": ["owner/repo--code.Tokenizer", None]},
                "tokenizer_class": "T5Tokenizer",
            }
        )
    )
    (tmp_path / "config.json").write_text(
        json.dumps({"auto_map": {"AutoConfig": "owner/repo--code.Config"}, "model_type": "t5"})
    )
    tokenizer = Tokenizer.from_buffer(read_tokenizer(tmp_path))
    text = "a green dog moves over the sea"
    assert tokenizer.encode(text).ids == [*own.encode(text), 1]


def test_shards_follow_their_index(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"old": torch.ones(1)}, tmp_path / "another.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(
        CheckpointError, match="lacks 1 of the 2 files.*00002-of-00002.*download is incomplete"
    ):
        open_weights(tmp_path)
    save_file({"b": torch.ones(1)}, tmp_path / names["b"])
    assert open_weights(tmp_path).specs.keys() == {"a", "b"}
    for wrong in ({"a": "../x.safetensors"}, {"a": "/etc/passwd"}, {"a": 3}, [], {}):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(CheckpointError, match="index.json"):
            open_weights(tmp_path)


def test_one_precision_of_a_folder_is_read(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    assert open_weights(tmp_path).read(["a"])["a"].item() == 0


def test_names_that_no_file_has(tmp_path):
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(LayerFlowError):
            open_weights(tmp_path / name)
