"""A server on this machine that answers as Hugging Face's does, for as much as a download asks."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Files by repository and commit.

    Args:
        files: name -> bytes, of every commit.
        lies: files whose hash is stated wrongly.
    """

    def __init__(self, repo: str, commits: dict[str, dict[str, bytes]]) -> None:
        self.repo, self.commits, self.lies, self.asked = repo, commits, set(), []
        self.newest = next(reversed(commits))

    def model_info(self, revision: str) -> dict:
        commit = self.newest if revision in ("main", "") else revision
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": "0",
                "lfs": {"sha256": self._hash(name, data), "size": len(data), "pointerSize": 1},
            }
            for name, data in self.commits[commit].items()
        ]
        return {
            "id": self.repo,
            "modelId": self.repo,
            "sha": commit,
            "siblings": siblings,
            "tags": [],
            "private": False,
            "downloads": 0,
            "likes": 0,
        }

    def _hash(self, name: str, data: bytes) -> str:
        return "0" * 64 if name in self.lies else hashlib.sha256(data).hexdigest()


@contextmanager
def serving(hub: Hub):
    """Yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path, self.headers.get("Range")))
            if path.startswith(f"/api/models/{hub.repo}"):
                return self.say(
                    json.dumps(
                        hub.model_info(
                            path.rpartition("/revision/")[2] if "/revision/" in path else ""
                        )
                    ).encode(),
                    {},
                    body,
                )
            commit, _, name = path.removeprefix(f"/{hub.repo}/resolve/").partition("/")
            if commit not in hub.commits or name not in hub.commits[commit]:
                return self.say(b"", {"X-Error-Code": "EntryNotFound"}, body, 404)
            data = hub.commits[commit][name]
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": commit,
                "Accept-Ranges": "bytes",
            }
            begin = int(
                (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0]
            )
            if begin:
                headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            return self.say(data[begin:], headers, body, 206 if begin else 200)

        def say(self, data: bytes, headers: dict, body: bool, status: int = 200) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
