"""A folder that a reader works in, and what it does outside of it."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

TRACE_SIGNAL = signal.SIGUSR1
"""Makes a child write down where it is."""

_PARTIAL = ".part"
_PROCESSES = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"}
_NETWORK = {"socket.connect", "socket.bind", "socket.getaddrinfo"}
_CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ALLOWED = ("/dev/null", "/dev/tty")


class Sandbox:
    """Folders of one child.

    ``input`` is what is read and ``output`` where a reader may write; both are new for every input. ``canary`` is not
    to be touched, ``work`` is the current folder, ``sound`` and ``temp`` stay.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.input = self.root / "input"
        self.output = self.root / "output"
        self._watched = (self.input, self.root / "canary", self.root / "work")
        self._before: dict[str, tuple] = {}
        self._seen: list[str] = []

    def enter(self) -> None:
        """Make this process live here."""
        for name in ("canary", "work", "sound", "temp", "home"):
            (self.root / name).mkdir(parents=True)
        (self.root / "canary" / "secret.txt").write_text("secret")
        (self.root / "canary" / "secret.mp4").write_text("secret")
        os.chdir(self.root / "work")
        os.environ["HOME"] = str(self.root / "home")
        tempfile.tempdir = str(self.root / "temp")
        sys.dont_write_bytecode = True
        self._be_silent()
        self._leave_traces()
        sys.addaudithook(self._notice)

    def clean(self) -> None:
        for folder in (self.input, self.output):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def look(self) -> None:
        """Remember what is there; what changes from here on is the reader's doing."""
        self._before = self._state()
        self._seen.clear()

    def left_behind(self) -> tuple[str, str] | None:
        """(outcome, what) since the last look: something done elsewhere, or a half file; None if neither."""
        if self._seen:
            return "elsewhere", self._seen[0]
        after = self._state()
        changed = [
            name for name in after | self._before if after.get(name) != self._before.get(name)
        ]
        if changed:
            return "elsewhere", f"changed {changed[0]}"
        for path in self.output.rglob("*"):
            if _PARTIAL in path.name:
                return "half files", f"left a partial file for {path.suffix}"
        return None

    def _state(self) -> dict[str, tuple]:
        state = {}
        for folder in self._watched:
            for path in folder.rglob("*"):
                status = path.lstat()
                state[str(path.relative_to(self.root))] = status.st_mode, status.st_size
        return state

    def _notice(self, event: str, arguments: tuple) -> None:
        """Called by Python before it opens, runs or connects to anything."""
        if event in _PROCESSES or event in _NETWORK:
            self._seen.append(f"{event} {arguments[:1]!r:.200}")
        elif event in _CHANGES and self._is_outside(arguments[0]):
            self._seen.append(f"{event} {arguments[0]!r:.200}")
        elif event == "open" and arguments[2] & _WRITING and self._is_outside(arguments[0]):
            self._seen.append(f"open {arguments[0]!r:.200} for writing")

    def _is_outside(self, path: object) -> bool:
        if isinstance(path, int):
            return False
        full = os.path.abspath(os.fsdecode(path))
        return full not in _ALLOWED and not full.startswith(f"{self.root}{os.sep}")

    def _be_silent(self) -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)

    def _leave_traces(self) -> None:
        self._trace = (self.root / "trace.txt").open("w")
        faulthandler.enable(self._trace)
        faulthandler.register(TRACE_SIGNAL, self._trace)
