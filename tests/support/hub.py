"""A local server that answers as the Hugging Face hub does: files by HEAD and GET, commits by POST."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import yaml

from tests.support.http_server import serving

COMMIT = "c" * 40


@dataclass
class Hub:
    """The address, the content of each ``owner/name/file``, those that arrive damaged, and the requests."""

    url: str
    files: dict[str, bytes]
    damaged: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    private: dict[str, bool] = field(default_factory=dict)  # of the repositories that were created


def take(hub: Hub, path: str, body: bytes) -> dict[str, Any]:
    """Create a repository, tell how to send files, or take them in a commit."""
    if path.endswith("/create"):
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
        # the hub's library sends "visibility" since version 2
        hub.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
        return {"url": f"{hub.url}/{name}", "id": name}
    if path.endswith("/validate-yaml"):
        try:
            yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
        except yaml.YAMLError as error:
            return {"errors": [{"message": str(error)}]}
        return {}
    if "/preupload/" in path:
        names = [file["path"] for file in json.loads(body)["files"]]
        return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
    repository = path.removeprefix("/api/models/").partition("/commit/")[0]
    for item in map(json.loads, body.splitlines()):
        if item["key"] == "file":
            content = base64.b64decode(item["value"]["content"])
            hub.files[f"{repository}/{item['value']['path']}"] = content
    return {"commitUrl": f"{hub.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""}


@contextmanager
def serve_hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve ``files`` below ``/owner/name/resolve/main/``."""
    hub = Hub("", files)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.wfile.write(self.answer())

        def do_POST(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, document = 401, dict[str, Any](error="Invalid username or password.")
            if self.headers.get("Authorization"):
                document = take(hub, self.path, body)
                status = 400 if "errors" in document else 200
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def answer(self) -> bytes:
            hub.requests.append(f"{self.command} {self.path}")
            hub.tokens.add(self.headers.get("Authorization"))
            name = self.path.replace("/resolve/main/", "/").lstrip("/")
            content = hub.files.get(name)
            is_repository = any(one.startswith(name.rpartition("/")[0] + "/") for one in hub.files)
            if content is None:
                self.send_response(404 if is_repository else 401)
                self.send_header("X-Error-Code", "EntryNotFound" if is_repository else "RepoNotFound")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return b""
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content[:-1] + bytes([content[-1] ^ 1]) if name in hub.damaged else content

    with serving(Handler) as hub.url:
        yield hub
