"""DownloadLayerFlow: released files into ComfyUI's models folder, when the graph is run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from ..layerflow_core.download import SOURCES, find_source
from ..layerflow_core.errors import DownloadError
from .host import CATEGORY

PACK = Path(__file__).parents[1]
SECONDS = 0.5  # between two looks at a running download


class DownloadLayerFlow:
    """Fetches a released checkpoint, or the parts of CogVideoX-2B, from Hugging Face."""

    DISPLAY_NAME = "LayerFlow Download"
    CATEGORY = f"{CATEGORY}/model"
    SEARCH_ALIASES = ["download model", "huggingface", "weights"]
    DESCRIPTION = (
        "Downloads an official checkpoint, or CogVideoX-2b's text encoder and VAE, into the "
        "models folder. Runs only when you queue it; resumes where it stopped; checks the "
        "files' hashes and keeps to the commit of the first time."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("folder",)
    OUTPUT_TOOLTIPS = (
        "Where the files lie. Reload the page's node definitions (R) to see them in LoadLayerFlow.",
    )
    FUNCTION = "download"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        sizes = "; ".join(f"{name}: {source.size}" for name, source in SOURCES.items())
        return {
            "required": {
                "what": (
                    list(SOURCES),
                    {
                        "tooltip": "Official checkpoints do one task each, and hold their own text "
                        "encoder and VAE. CogVideoX-2b: those two alone, for files that lack "
                        f"them. {sizes}."
                    },
                ),
                "revision": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Commit, tag or branch on Hugging Face. Empty: the commit of "
                        "the last time, or the newest.",
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **_) -> float:
        return time.time()  # asked for is asked for: files may have been removed meanwhile

    def download(self, what: str, revision: str, node_id=None) -> tuple:
        import folder_paths

        models = Path(folder_paths.models_dir)
        source = find_source(what)
        command = [
            sys.executable,
            "-m",
            "layerflow_core.download",
            what,
            str(models),
            revision,
            os.environ.get("HF_ENDPOINT", ""),
        ]
        # A process of its own, because nothing else can be stopped in the middle of a file; its
        # bars go to ComfyUI's console.
        process = subprocess.Popen(command, cwd=PACK, stdout=subprocess.PIPE, text=True)
        try:
            _wait(process)
        finally:
            process.kill()
        said = process.communicate()[0].strip()
        if process.returncode:
            raise DownloadError(
                said
                or f"the download of {what} ended with status {process.returncode}; "
                "ComfyUI's console has its last words"
            )
        return (str(models / source.place),)


def _wait(process: subprocess.Popen) -> None:
    from comfy.model_management import throw_exception_if_processing_interrupted

    while process.poll() is None:
        throw_exception_if_processing_interrupted()
        time.sleep(SECONDS)
