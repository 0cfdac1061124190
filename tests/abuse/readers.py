"""Every reader of the pack, called as a user's action calls it: a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from layerflow_core.download import _pinned
from layerflow_core.errors import CheckpointError
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.layer_files.saving import SaveOptions, save_layers
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.model.loading import LayerFlowModel, load_model
from layerflow_core.model.lora_file import attach_lora, is_own_lora
from layerflow_core.model.prompt_limit import read_prompt_limit
from layerflow_core.model.text import count_tokens, read_tokenizer_data
from layerflow_core.model.third_party_lora import add_third_party_lora
from layerflow_core.names import FileNames
from layerflow_core.official.conversion import Conversion, convert_official, open_official, read_any
from layerflow_core.runtime.latent_store import LatentStore
from layerflow_core.training.config import read_training_config
from layerflow_core.training.data.clip_folder import ClipFolder, LayerClip, write_clip
from layerflow_core.training.data.official_folders import OfficialFolder
from layerflow_core.weights.components import Components

from .host import load_nodes
from .seeds import PROMPTS
from .weights import WEIGHTS, build_tiny

OUTPUT = Path("..", "output")
SOUND = Path("..", "sound")
"""From the folder where readers run: where they may write, and where sound files beside the damaged one lie."""


@dataclass(frozen=True)
class Reader:
    """A row.

    Args:
        seeds: a group of ``seeds.GROUPS``.
        read: reads a path as a user's action does; what it returns is of no matter.
        nasty: whether it also gets the fixed list; not where another row has the same files and the same door.
    """

    name: str
    seeds: str
    read: Callable[[Path], object]
    nasty: bool = True


# Layers.


def _load_with_matte(path: Path) -> None:
    load_layers(path, matte=path, alpha="premultiplied")


def _save_again(path: Path) -> None:
    how = SaveOptions("PNG 8 bit", "PNG 8 bit")
    save_layers(OUTPUT / "again", load_layers(path), how)


# Datasets.


def _read_official_dataset(path: Path) -> None:
    _read_all(OfficialFolder(path.parent, path, path.stem))


def _read_clips(path: Path) -> None:
    _read_all(ClipFolder(path))


def _read_all(clips: Sequence[LayerClip]) -> None:
    for index in range(len(clips)):
        clips[index]
    clips.fingerprint()


# Weights.


def _run_parts(path: Path) -> None:
    model = load_model(path)
    model.require_text().encode("a dog")
    model.require_vae()


def _convert(path: Path) -> None:
    how = Conversion(dtype=torch.bfloat16)
    convert_official(path, OUTPUT / "converted.safetensors", how)


def _read_official(path: Path) -> None:
    file = open_official(path)
    file.read(list(file.specs))


def _load_text_encoder(path: Path) -> None:
    _load_with(text_encoder=path, tokenizer=_sound("tokenizer")).require_text().encode("a dog")


def _read_limit(path: Path) -> None:
    """As the route that counts tokens does it."""
    limit = read_prompt_limit(path)
    if limit.tokenizer is not None:
        count_tokens(read_tokenizer_data(limit.tokenizer), "a dog")


def _load_tokenizer(path: Path) -> None:
    model = _load_with(text_encoder=_sound("text encoder file"), tokenizer=path)
    model.require_text().encode("a dog")


def _load_vae(path: Path) -> None:
    _load_with(vae=path)


def _load_with(**parts: Path) -> LayerFlowModel:
    """A checkpoint of its network alone, with parts from elsewhere."""
    return load_model(_sound("bare checkpoint"), base=Components(**parts))


@cache
def _sound(kind: str) -> Path:
    """A sound weight file."""
    write, entry, _ = WEIGHTS[kind]
    folder = SOUND.resolve() / kind
    folder.mkdir()
    write(folder)
    return folder / entry


def _add_lora(path: Path) -> None:
    if is_own_lora(path):
        attach_lora(_tiny_model(), [path])
    else:
        add_third_party_lora(_tiny_model(), path)


@cache
def _tiny_model() -> LayerFlowModel:
    network = build_tiny(0)
    return LayerFlowModel(network.config, network)


def _find_latents(path: Path) -> None:
    """A damaged file is as good as none: the run is sampled again."""
    if LatentStore(path.parent).find(path.stem) is None:
        raise CheckpointError("there are no such latents")


# Names.


def _text(path: Path) -> str:
    """As a name comes out of JSON: any code points."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _name_files(path: Path) -> None:
    names = FileNames()
    for _ in range(3):
        (OUTPUT / names.claim(_text(path))).write_bytes(b"")


def _name_layer(path: Path) -> None:
    save_layers(OUTPUT / "set", _small_layers(_text(path)), SaveOptions("PNG 8 bit", "none"))


def _name_clip(path: Path) -> None:
    front = _small_layers("dog").foregrounds[0]
    layers = {"foreground": front.colour, "alpha": front.opacity, "background": front.colour}
    write_clip(OUTPUT, LayerClip(_text(path), layers, PROMPTS))


def _name_set(path: Path) -> None:
    node = load_nodes(OUTPUT)["SaveLayers"]()
    node.save(_small_layers("dog"), _text(path), "PNG 8 bit", "none", "straight", 8.0, 0)


def _name_collected_clip(path: Path) -> None:
    node = load_nodes(OUTPUT)["CollectLayerClip"]()
    image = torch.zeros(1, 8, 8, 3)
    alpha = torch.zeros(1, 8, 8)
    text = _text(path)
    node.collect(image, alpha, image, *PROMPTS.values(), text, "clip", 8.0, "1 = opaque")
    node.collect(image, alpha, image, *PROMPTS.values(), "set", text, 8.0, "1 = opaque")


def _small_layers(name: str) -> LayerVideo:
    foreground = Foreground(name, torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8))
    return LayerVideo((foreground,), None, None, 8.0)


READERS = (
    Reader("saved sets", "sets", load_layers),
    Reader("sets saved again", "sets", _save_again, nasty=False),
    Reader("videos", "videos", load_layers),
    Reader("videos as mattes", "videos", _load_with_matte, nasty=False),
    Reader("images", "images", load_layers),
    Reader("folders of images", "sequences", load_layers),
    Reader("official datasets", "official folders", _read_official_dataset),
    Reader("clip folders", "clips", _read_clips),
    Reader("trainings", "trainings", read_training_config),
    Reader("checkpoints", "checkpoint", _run_parts),
    Reader("limits of prompts", "checkpoint", _read_limit),
    Reader("official safetensors", "official safetensors", read_any),
    Reader("official pickles", "official pickle", read_any),
    Reader("conversions", "official pickle", _convert, nasty=False),
    Reader("official folders", "official folder", _read_official),
    Reader("text encoder folders", "text encoder folder", _load_text_encoder),
    Reader("text encoder files", "text encoder file", _load_text_encoder),
    Reader("text encoders in GGUF", "text encoder gguf", _load_text_encoder),
    Reader("scaled fp8", "scaled fp8", _load_text_encoder),
    Reader("tokenizers", "tokenizer", _load_tokenizer),
    Reader("VAE folders", "VAE folder", _load_vae),
    Reader("VAE pickles", "VAE pickle", _load_vae),
    Reader("own LoRA", "own LoRA", _add_lora),
    Reader("third-party LoRA", "third-party LoRA", _add_lora),
    Reader("kept latents", "latents", _find_latents),
    Reader("pinned downloads", "pins", _pinned),
    Reader("file names", "names", _name_files),
    Reader("layer names", "names", _name_layer),
    Reader("clip names", "names", _name_clip),
    Reader("set prefixes", "prefixes", _name_set),
    Reader("collected clips", "names", _name_collected_clip),
)
