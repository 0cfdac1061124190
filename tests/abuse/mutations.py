"""Ways to damage a file by what its bytes mean: JSON, TOML, names, safetensors, torch's archives, PNG."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from .damage import ANYWHERE, Mutation, flip_bytes
from .safetensors_text import SafetensorsText

DEEP = "[" * 10_000 + "]" * 10_000
NUMBERS = (
    "0",
    "-1",
    "0.5",
    "1e-30",
    "1e30",
    "1000000",
    "2147483648",
    "9223372036854775808",
    "1e99999999",
    "-1e400",
    "NaN",
    "1" * 5000,
)
TEXTS = (
    "",
    ".",
    "..",
    "../../canary/secret.txt",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "a\0b",
    "\ud800",
    "x" * 300,
    "\u202egpj.exe",
    "CON",
    "1/0",
    "1e99999999",
    "owner/repo",
    "__class__",
)
# What stands in place of a value, as JSON writes it.
LITERALS = (
    *NUMBERS,
    *(json.dumps(text) for text in TEXTS),
    "null",
    "true",
    "[]",
    "{}",
    "[null]",
    '{"": null}',
    DEEP,
)


def mutate(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """Damage a file once or a few times.

    Args:
        suffix: of its name; what it means is damaged where it is known.
    """
    meant = BY_SUFFIX.get(suffix, ())
    if meant and rng.random() < 0.7:
        data = _try(rng.choice(meant), data, rng)
        if rng.random() < 0.8:
            return data
    for _ in range(rng.choice((1, 1, 2, 5))):
        data = rng.choice(ANYWHERE)(data, rng)
    return data


def _try(mutation: Mutation, data: bytes, rng: random.Random) -> bytes:
    """A file that does not mean what its name says is damaged anywhere."""
    try:
        return mutation(data, rng)
    except (ValueError, LookupError, RecursionError, struct.error, zipfile.BadZipFile):
        return flip_bytes(data, rng)


def change_json(data: bytes, rng: random.Random) -> bytes:
    return _change_json_text(data.decode(), rng).encode("utf-8", "surrogatepass")


def _change_json_text(text: str, rng: random.Random) -> str:
    root = {"": json.loads(text)}
    placed: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _change_place(root, placed, rng)
    written = json.dumps(root.get(""))
    for number, literal in enumerate(placed):
        written = written.replace(f'"{_mark(number)}"', literal)
    return written


def _mark(number: int) -> str:
    return f"@literal {number}@"


def _change_place(root: dict, placed: list[str], rng: random.Random) -> None:
    """One value, key or element; in text that is JSON itself, one of its own."""
    places = list(_places(root))
    container, key = rng.choice(places)
    value = container[key]
    if isinstance(value, str) and value[:1] in "{[" and rng.random() < 0.9:
        container[key] = _try_text(value, rng)
        return
    way = rng.choice(("replace", "replace", "replace", "drop", "rename", "wrap", "swap"))
    if way == "drop":
        del container[key]
    elif way == "rename" and isinstance(container, dict):
        container[rng.choice((*TEXTS, str(key).replace("0", "999999")))] = container.pop(key)
    elif way == "wrap":
        container[key] = rng.choice(([value], {"value": value}, [value] * 1000))
    elif way == "swap":
        other, place = rng.choice(places)
        container[key] = json.loads(json.dumps(other[place]))
    else:
        placed.append(rng.choice(LITERALS))
        container[key] = _mark(len(placed) - 1)


def _places(container: Any):
    """Everywhere a value stands: (its container, its key there)."""
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in items:
        yield container, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _try_text(text: str, rng: random.Random) -> str:
    try:
        return _change_json_text(text, rng)
    except (ValueError, IndexError):
        return text[: len(text) // 2]


def change_line(data: bytes, rng: random.Random) -> bytes:
    """A line of TOML, or of any text of lines."""
    lines = data.decode().split("\n")
    place = rng.randrange(len(lines))
    key, equals, _ = lines[place].partition("=")
    way = rng.choice(("value", "value", "value", "drop", "repeat", "key"))
    if way == "value" and equals:
        lines[place] = f"{key}= {rng.choice(LITERALS)}"
    elif way == "key" and equals:
        lines[place] = lines[place].replace(key, json.dumps(rng.choice(TEXTS)))
    elif way == "repeat":
        lines.insert(place, lines[place])
    else:
        del lines[place]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def change_name(data: bytes, rng: random.Random) -> bytes:
    """A name, joined with something that no name has."""
    name = data.decode()
    text = rng.choice((*TEXTS, "%date%", "%", "\n", "/", "\\", " ", "\U0001f415", "a" * 100_000))
    joined = rng.choice((text, name + text, text + name, f"{name}/{text}", f"{text}/{name}"))
    return joined.encode("utf-8", "surrogatepass")


def change_tensor_file(data: bytes, rng: random.Random) -> bytes:
    """Safetensors: what is said of the tensors, while the file stays whole."""
    file = SafetensorsText.parse(data)
    way = rng.choice(("header", "header", "metadata", "metadata", "metadata", "key", "text"))
    if way == "metadata" and file.metadata:
        file.metadata = json.loads(_change_json_text(json.dumps(file.metadata), rng))
    elif way == "key":
        key = rng.choice(sorted(file.tensors))
        tensor = file.tensors.pop(key)
        file.tensors[rng.choice((key.replace("0", "999999"), *TEXTS))] = tensor
    elif way == "text" and (texts := file.text_keys()):
        file.change_text(rng.choice(texts), lambda text: _change_json_text(text, rng))
    else:
        return file.build(lambda header: _change_json_text(header, rng))
    return file.build()


def change_pickle(data: bytes, rng: random.Random) -> bytes:
    """Torch's archive, whole again around a damaged member."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickles = [name for name in members if name.endswith("data.pkl")]
    name = rng.choice(pickles * 5 + sorted(members))
    members[name] = rng.choice(ANYWHERE)(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def change_png_chunk(data: bytes, rng: random.Random) -> bytes:
    """A PNG chunk's content, with a checksum that fits it."""
    chunks = list(_png_chunks(data))
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    way = rng.choice(("damage", "damage", "drop", "repeat", "move"))
    if way == "damage":
        chunks[place] = kind, rng.choice(ANYWHERE)(content, rng)
    elif way == "repeat":
        chunks.insert(place, (kind, content))
    else:
        del chunks[place]
    if way == "move":
        chunks.insert(rng.randrange(len(chunks) + 1), (kind, content))
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def _png_chunks(data: bytes):
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += length + 12


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


BY_SUFFIX: Mapping[str, tuple[Mutation, ...]] = {
    ".json": (change_json,),
    ".toml": (change_line,),
    ".name": (change_name,),
    ".safetensors": (change_tensor_file,),
    ".pt": (change_pickle,),
    ".png": (change_png_chunk,),
}
