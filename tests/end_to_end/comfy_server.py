"""A real ComfyUI server with this pack in it, and what a test asks of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

PACK = Path(__file__).parents[2]
START_SECONDS = 180


def checkouts() -> list[Path]:
    """Checkouts to test on: COMFYUI_DIR (several with the path separator), the one the pack lives
    in, or comfy-cli's.
    """
    named = os.environ.get("COMFYUI_DIR")
    if named:
        return [Path(p).expanduser() for p in named.split(os.pathsep)]
    above = PACK.parents[1] if PACK.parent.name == "custom_nodes" else None
    guesses = [
        p for p in (above, Path("~/comfy/ComfyUI").expanduser()) if p and (p / "main.py").exists()
    ]
    return guesses[:1]


def interpreter(checkout: Path) -> str:
    own = checkout / ".venv" / "bin" / "python"
    return os.environ.get("COMFYUI_PYTHON") or (str(own) if own.exists() else sys.executable)


@dataclass
class Server:
    """A running server.

    Args:
        base: its base directory, with ``input``, ``output`` and ``custom_nodes``.
    """

    url: str
    base: Path
    process: subprocess.Popen

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, data: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, json.dumps(data).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
                return json.loads(body) if body else {}
        except urllib.error.HTTPError as error:
            return {"http": error.code, **json.loads(error.read() or b"{}")}

    def queue(self, graph: dict) -> str:
        answer = self.post("/prompt", {"prompt": graph, "client_id": uuid.uuid4().hex})
        assert "prompt_id" in answer, answer
        return answer["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 400) -> dict:
        """The finished run's history entry."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history and history[prompt_id]["status"].get("status_str"):
                return history[prompt_id]
            assert self.process.poll() is None, "the server died"
            time.sleep(0.3)
        raise AssertionError(f"no result after {seconds} s")

    def run(self, graph: dict) -> dict:
        return self.wait(self.queue(graph))

    def saved(self, entry: dict) -> list[Path]:
        """Files that a run's output nodes wrote."""
        items = [
            item
            for output in entry["outputs"].values()
            for group in output.values()
            if isinstance(group, list)
            for item in group
        ]
        files = [i for i in items if isinstance(i, dict) and "filename" in i]
        return [self.base / i["type"] / i["subfolder"] / i["filename"] for i in files]


def error_of(entry: dict) -> str:
    """Type and message of a failed run."""
    for kind, details in entry["status"]["messages"]:
        if kind == "execution_error":
            return f"{details['exception_type']}: {details['exception_message']}"
    return ""


def start(checkout: Path, base: Path, *options: str) -> Server:
    """Start a server on a free port with only this pack installed.

    Args:
        options: more of ComfyUI's command line.
    """
    for name in ("custom_nodes", "input", "output", "user/default"):
        (base / name).mkdir(parents=True, exist_ok=True)
    (base / "user/default/comfy.settings.json").write_text(
        '{"Comfy.TutorialCompleted": true, "Comfy.Minimap.Visible": false}'
    )
    (base / "custom_nodes" / "ComfyUI-LayerFlow").symlink_to(PACK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = interpreter(checkout)
    log = (base / "server.log").open("w")
    command = [
        python,
        "main.py",
        "--cpu",
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
        "--base-directory",
        str(base),
        "--disable-api-nodes",
        "--database-url",
        "sqlite:///:memory:",
        *_frontend(python),
        *options,
    ]
    process = subprocess.Popen(
        command,
        cwd=checkout,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    server = Server(f"http://127.0.0.1:{port}", base, process)
    deadline = time.time() + START_SECONDS
    while time.time() < deadline:
        try:
            server.get("/system_stats")
            return server
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, (base / "server.log").read_text()[-3000:]
            time.sleep(0.5)
    process.kill()
    raise AssertionError((base / "server.log").read_text()[-3000:])


def _frontend(python: str) -> list[str]:
    """The frontend of the checkout's own environment."""
    found = subprocess.run(
        [
            python,
            "-c",
            "import comfyui_frontend_package, pathlib; "
            "print(pathlib.Path(comfyui_frontend_package.__file__).parent / 'static')",
        ],
        capture_output=True,
        text=True,
    )
    return ["--front-end-root", found.stdout.strip()] if found.returncode == 0 else []
