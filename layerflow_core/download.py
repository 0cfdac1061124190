"""Released files from Hugging Face, when somebody asks for them: resumed where they stopped, pinned, and checked.

The first download writes down the commit it came from; later ones of the same thing take that commit again, unless
another one is named.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

from annotated_types import Len

from .atomic import check_room, replacing
from .errors import DownloadError, LayerFlowError
from .layout import OFFICIAL_VARIANTS
from .official.conversion import Conversion, convert_official
from .official.variants import released_folder
from .plain_data import read_record
from .weights.checkpoint import digest


@dataclass(frozen=True)
class Source:
    """Something that can be downloaded.

    Args:
        patterns: of the files within the repository.
        place: folder below ComfyUI's ``models``.
        size: roughly, for people.
    """

    repo: str
    patterns: tuple[str, ...]
    place: str
    size: str


@dataclass(frozen=True)
class PinnedRecord:
    """What the file beside a download says of it."""

    revision: Annotated[str, Len(1, 200)]


_REVISION = re.compile(r"[\w][\w./-]{0,199}")  # a commit, tag or branch
_LAYERFLOW = "zjuJish/LayerFlow"
SOURCES: Mapping[str, Source] = {
    **{
        variant: Source(_LAYERFLOW, (f"{released_folder(variant)}/*",), "layerflow", "27 GB")
        for variant in OFFICIAL_VARIANTS
    },
    "CogVideoX-2b": Source(
        "THUDM/CogVideoX-2b",
        ("text_encoder/*", "tokenizer/*", "vae/*"),
        "CogVideo/CogVideoX-2b",
        "10 GB",
    ),
}


def download(
    name: str,
    models: Path,
    revision: str = "",
    report: Callable[[str, int], None] = lambda file, size: None,
    endpoint: str | None = None,
) -> list[Path]:
    """Fetch what is not there yet; a stopped download resumes where it stopped.

    Args:
        name: key of ``SOURCES``.
        models: ComfyUI's models folder, or one like it.
        revision: a commit, tag or branch; '' takes the commit of the last time, or the newest.
        report: called with every file's name and size in bytes before it is fetched.

    Raises:
        DownloadError: unknown name, no connection, too little room, or a file that is not what the repository says.
    """
    from huggingface_hub import HfApi, hf_hub_download

    source = find_source(name)
    folder, record = models / source.place, models / source.place / f"{name}.source.json"
    wanted = _check_revision(revision) if revision else _pinned(record)
    with _naming(source.repo):
        info = HfApi(endpoint=endpoint).model_info(
            source.repo, revision=wanted, files_metadata=True
        )
    files = [
        file
        for file in info.siblings or []
        if any(fnmatch(file.rfilename, pattern) for pattern in source.patterns)
    ]
    if not files:
        raise DownloadError(
            f"{source.repo} at {info.sha} has no {' or '.join(source.patterns)}; expected the "
            "released files, name another revision"
        )
    check_room(folder, _missing_bytes(files, folder), DownloadError)
    paths = []
    for file in files:
        report(file.rfilename, file.size or 0)
        with _naming(source.repo):
            paths.append(
                Path(
                    hf_hub_download(
                        source.repo,
                        file.rfilename,
                        revision=info.sha,
                        local_dir=folder,
                        endpoint=endpoint,
                    )
                )
            )
        _check(paths[-1], file.lfs.sha256 if file.lfs else None)
    with replacing(record, DownloadError) as partial:
        hashes = {file.rfilename: file.lfs.sha256 for file in files if file.lfs}
        partial.write_text(
            json.dumps({"repo": source.repo, "revision": info.sha, "sha256": hashes}, indent=2)
        )
    return paths


def _missing_bytes(files: Sequence, folder: Path) -> int:
    """Of files that are not there yet; what lies half fetched counts as not there."""
    missing = (file for file in files if not (folder / file.rfilename).is_file())
    return sum(file.size or 0 for file in missing)


def convert_download(name: str, models: Path) -> Path:
    """One variant that was fetched becomes ``layerflow/NAME.safetensors``; the released folder is removed then.

    Raises:
        DownloadError: no variant.
        CheckpointError: see ``convert_official``; then the folder stays.
    """
    if name not in OFFICIAL_VARIANTS:
        raise DownloadError(
            f"got --convert with {name!r}, expected one of {', '.join(OFFICIAL_VARIANTS)}: "
            "only checkpoints are converted"
        )
    folder = models / find_source(name).place
    released = folder / released_folder(name)
    target = folder / f"{name}.safetensors"
    convert_official(released, target, Conversion(name))
    shutil.rmtree(released)
    return target


def find_source(name: str) -> Source:
    """Raises DownloadError if there is no such row."""
    if name not in SOURCES:
        raise DownloadError(f"got {name!r}, expected one of {', '.join(SOURCES)}")
    return SOURCES[name]


def _pinned(record: Path) -> str | None:
    """The commit of the last time."""
    if not record.exists():
        return None
    try:
        return _check_revision(read_record(PinnedRecord, record, DownloadError).revision)
    except DownloadError as error:
        raise DownloadError(f"{record}: {error}; remove this file, or name a revision") from error


def _check_revision(revision: str) -> str:
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise DownloadError(
            f"got the revision {ascii(revision)[:100]}, expected a commit, tag or branch of the repository"
        )
    return revision


def _check(path: Path, expected: str | None) -> None:
    if expected and (met := digest(path)) != expected:
        path.unlink()
        raise DownloadError(
            f"{path} has sha256 {met}, the repository says {expected}: it is removed; download it again"
        )


@contextmanager
def _naming(repo: str) -> Iterator[None]:
    """Turns what the network says into an error that names the repository."""
    from huggingface_hub.errors import HfHubHTTPError

    # What newer versions of the hub's library use for the network, by whichever name they have loaded it.
    networks = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    known = (OSError, HfHubHTTPError, *(network.HTTPError for network in networks))
    try:
        yield
    except known as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadError(
            f"{repo} cannot be fetched ({reason}); check the connection and start it again, it resumes where it stopped"
        ) from error


def main(arguments: list[str]) -> int:
    """``NAME MODELS [REVISION [ENDPOINT]]``: what the node runs in a process of its own, so that it
    can be cancelled.
    """
    name, models, revision, endpoint, *_ = [*arguments, "", ""][:4]
    try:
        download(name, Path(models), revision, endpoint=endpoint or None)
    except LayerFlowError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
