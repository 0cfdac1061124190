"""Small sound inputs, made by the pack itself: what is damaged afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from layerflow_core.layer_files.saving import FORMATS, SaveOptions, save_layers
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.names import clean_name
from layerflow_core.training.data.clip_folder import LayerClip, write_clip
from layerflow_core.video.exr import write_exr
from layerflow_core.video.png import write_apng, write_png
from layerflow_core.video.psd import write_psd
from layerflow_core.video.streams.encodings import H264, PRORES_4444, VP9_ALPHA, write_stream
from layerflow_core.video.webp import write_webp

from .weights import WEIGHTS

FRAMES, HEIGHT, WIDTH = 3, 16, 24
PROMPTS = {"foreground": "a dog", "background": "a lawn", "blended": "a dog on a lawn"}


@dataclass(frozen=True)
class Seed:
    """A sound input.

    Args:
        files: bytes by path below the input's folder.
        entry: the path that a reader is given, '' for the folder itself.
        targets: the files that are damaged.
    """

    name: str
    files: Mapping[str, bytes]
    entry: str
    targets: tuple[str, ...]

    def write(self, folder: Path) -> Path:
        """Returns the entry."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / self.entry


def make_seeds(folder: Path) -> dict[str, list[Seed]]:
    """All seeds by the name of their group, made in an empty folder that is not needed afterwards."""
    torch.manual_seed(0)
    seeds = {}
    for group, make in GROUPS.items():
        place = folder / group
        place.mkdir(parents=True)
        seeds[group] = list(make(place))
    shutil.rmtree(folder)
    return seeds


def read_seed(folder: Path, entry: str = "", targets: str = "*") -> Seed:
    """A folder as a seed.

    Args:
        targets: pattern of the files that are damaged.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    chosen = tuple(name for name in files if Path(name).match(targets))
    return Seed(folder.name, files, entry, chosen)


def _layers() -> LayerVideo:
    colour = torch.rand(FRAMES, 3, HEIGHT, WIDTH)
    alpha = torch.rand(FRAMES, 1, HEIGHT, WIDTH)
    foreground = Foreground("dog", colour, alpha)
    return LayerVideo((foreground,), colour.flip(0), colour.flip(2), 8.0, colour - 0.5)


def _sets(folder: Path) -> Iterable[Seed]:
    for form in FORMATS:
        name = clean_name(form)
        opaque = {"ProRes 4444 (.mov)": "H.264 (.mp4)", "PNG 8 bit": "PNG 16 bit"}
        save_layers(folder / name, _layers(), SaveOptions(form, opaque.get(form, "none")))
        seed = read_seed(folder / name)
        record = "layers.json"
        yield Seed(name, seed.files, "", (record,) * len(seed.targets) + seed.targets)


def _videos(folder: Path) -> Iterable[Seed]:
    layers = _layers()
    opaque = list(layers.foreground)
    clear = list(torch.cat([layers.foreground, layers.alpha], 1))
    write_stream(folder / "a.mp4", opaque, 8, H264)
    write_stream(folder / "a.mov", clear, 8, PRORES_4444)
    write_stream(folder / "a.webm", clear, 8, VP9_ALPHA)
    write_webp(folder / "moving.webp", clear, 8)
    write_apng(folder / "moving.png", clear, 8)
    images = [_to_pil(frame) for frame in opaque]
    images[0].save(folder / "a.gif", save_all=True, append_images=images[1:], duration=125)
    return _single_files(folder)


def _images(folder: Path) -> Iterable[Seed]:
    import numpy as np
    from PIL import Image

    frame = torch.rand(4, HEIGHT, WIDTH)
    write_png(folder / "eight.png", frame)
    write_png(folder / "sixteen.png", frame, 65535)
    write_exr(folder / "a.exr", {"dog": frame}, {}, Fraction(8))
    write_psd(folder / "a.psd", {"dog": frame}, {"background": frame[:3]})
    image = _to_pil(frame[:3])
    for name in ("a.jpg", "a.tif", "a.webp", "a.bmp"):
        image.save(folder / name)
    image.convert("P").save(folder / "palette.png")
    deep = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH))
    deep.save(folder / "sixteen.tif")
    return _single_files(folder)


def _to_pil(frame: torch.Tensor):
    from PIL import Image

    return Image.fromarray((frame * 255).byte().permute(1, 2, 0).numpy())


def _single_files(folder: Path) -> Iterable[Seed]:
    """Each file of a folder alone."""
    for path in sorted(folder.iterdir()):
        yield Seed(path.name, {path.name: path.read_bytes()}, path.name, (path.name,))


def _sequences(folder: Path) -> Iterable[Seed]:
    frames = _layers().foreground
    for number, frame in enumerate(frames):
        write_png(folder / "png" / f"frame_{number}.png", frame)
        write_exr(folder / "exr" / f"{number}.exr", {"": frame}, {}, Fraction(8))
    for name in ("png", "exr"):
        yield read_seed(folder / name)


def _clips(folder: Path) -> Iterable[Seed]:
    layers = _layers()
    clips = {
        "foreground": layers.foreground,
        "alpha": layers.alpha,
        "background": layers.background,
    }
    write_clip(folder, LayerClip("dog", clips, PROMPTS, Fraction(24000, 1001)))
    yield Seed("record", read_seed(folder).files, "", ("dog_00001/layers.json",))
    yield read_seed(folder)


def _official_folders(folder: Path) -> Iterable[Seed]:
    places = {
        "davis": ("dog/bl", "dog/mask"),
        "youtubevos": ("JPEGImages/dog", "mask/dog", "impainting/dog"),
    }
    entry = {
        "objects": {"1": {"frames": ["00000", "00001"]}},
        "max_id": "1",
        "fg_prompt": "a dog",
        "bg_prompt": "a lawn",
        "bl_prompt": "a dog on a lawn",
    }
    for kind, folders in places.items():
        for place in folders:
            for number in range(2):
                write_png(folder / kind / place / f"{number:05d}.png", torch.rand(3, HEIGHT, WIDTH))
        (folder / kind / f"{kind}.json").write_text(json.dumps({"videos": {"dog": entry}}))
        yield read_seed(folder / kind, f"{kind}.json", "*.json")


def _trainings(folder: Path) -> Iterable[Seed]:
    path = folder / "train.toml"
    path.write_text(
        'output = "runs/base"\n'
        "[model]\n"
        'checkpoint = "model.safetensors"\n'
        "[stage]\n"
        'name = "base"\n'
        'blocks = "every"\n'
        "rank = 4\n"
        "[data.coarse]\n"
        'folder = "clips"\n'
        "scale = [0.6, 1.1]\n"
        "[plan]\n"
        "steps = 12\n"
        "lr = 1e-4\n"
        "betas = [0.9, 0.99]\n"
    )
    return _single_files(folder)


def _names(folder: Path) -> Iterable[Seed]:
    return _texts(folder, "dog", "dog.1", "a dog")


def _prefixes(folder: Path) -> Iterable[Seed]:
    return _texts(folder, "dog", "clips/dog", "%date:yyyy-MM-dd%/dog")


def _texts(folder: Path, *texts: str) -> Iterable[Seed]:
    for number, text in enumerate(texts):
        (folder / f"{number}.name").write_text(text)
    return _single_files(folder)


def _pins(folder: Path) -> Iterable[Seed]:
    record = {"repo": "zjuJish/LayerFlow", "revision": "a" * 40, "sha256": {"latest": "b" * 64}}
    (folder / "gen_rgba.source.json").write_text(json.dumps(record))
    return _single_files(folder)


def _weights(write: Callable[[Path], None], entry: str, targets: str) -> Callable:
    def make(folder: Path) -> Iterable[Seed]:
        write(folder)
        yield read_seed(folder, entry, targets)

    return make


GROUPS: Mapping[str, Callable[[Path], Iterable[Seed]]] = {
    "sets": _sets,
    "videos": _videos,
    "images": _images,
    "sequences": _sequences,
    "clips": _clips,
    "official folders": _official_folders,
    "trainings": _trainings,
    "names": _names,
    "prefixes": _prefixes,
    "pins": _pins,
    **{name: _weights(*row) for name, row in WEIGHTS.items()},
}
