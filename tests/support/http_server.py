"""A local HTTP server that serves one file, well or in the many ways in which downloads go wrong."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """How one request is answered; the defaults are those of an honest server."""

    status: int = 200
    body: bytes | None = None  # instead of the file
    content_type: str = "application/octet-stream"
    cut_after: int | None = None  # bytes of the body, then the connection is reset
    close_after: int | None = None  # bytes of the body, then the connection is closed in good order
    declared: int | None = None  # Content-Length, if it is to be a lie
    has_length: bool = True
    ignores_range: bool = False
    wrong_range: bool = False
    location: str = ""
    hold: threading.Event | None = None  # half of the body waits for this
    silent: bool = False  # takes the request and says nothing


@dataclass
class Server:
    """The server's address, its file, the answers still to give (the last one stays), and what was asked."""

    url: str
    content: bytes
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    ranges: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    is_half_sent: threading.Event = field(default_factory=threading.Event)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    served: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server = self.served
        answer = server.next_answer()
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        server.paths.append(self.path)
        if answer.silent:
            server.is_half_sent.wait(5)
            return
        begin = (
            0
            if asked is None or answer.ignores_range
            else int(asked.removeprefix("bytes=").removesuffix("-"))
        )
        content = server.content if answer.body is None else answer.body
        status = answer.status
        if begin and status == 200:
            status = 206 if begin < len(content) else 416
        body = b"" if status == 416 else content[begin:]
        self.send_response(status)
        if status == 206:
            shown = 0 if answer.wrong_range else begin
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        if answer.location:
            self.send_header("Location", answer.location)
        self.send_header("Content-Type", answer.content_type)
        if answer.has_length:
            self.send_header("Content-Length", str(len(body) if answer.declared is None else answer.declared))
        self.end_headers()
        self._send(answer, body)

    def _send(self, answer: Answer, body: bytes) -> None:
        for end, is_reset in ((answer.cut_after, True), (answer.close_after, False)):
            if end is not None:
                self.wfile.write(body[:end])
                self.wfile.flush()
                if is_reset:
                    time.sleep(0.1)  # a reset takes along what is still on its way
                    # With a linger time of zero the system sends a reset instead of an end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                return
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        self.served.is_half_sent.set()
        if answer.hold is not None:
            answer.hold.wait(20)
        try:
            self.wfile.write(body[half:])
        except OSError:
            return  # the client went away, as some tests want it to

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return  # closed already


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    """Serve ``content`` at any path of a free port of this machine."""
    handler = type("Handler", (_Handler,), {})
    with serving(handler) as url:
        handler.served = Server(url, content)
        yield handler.served


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests at a free port of this machine; yield the address."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
