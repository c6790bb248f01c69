"""Hostile requests to a real server: nothing but the index is served, and it goes on answering."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.web import NAMES, running_server
from vopcli.errors import UsageError
from vopcli.web.server import listen

SECRET = "the-secret-of-the-test"  # in a file beside the videos
_PROGRAM = """
import sys
from pathlib import Path
from vopcli.search.search import Index
from vopcli.web.app import Site, create_app
from vopcli.web.served import ServedIndex
from vopcli.web.server import listen, run_server
listener = listen("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
site = Site([ServedIndex(Path(sys.argv[1]), Index)], 10, print)
run_server(create_app(site), listener, request_seconds=1)
"""


@pytest.fixture(scope="module")
def port(site_index: Path) -> Iterator[int]:
    """A server that gives a client one second to send its request."""
    (site_index.parent / "secret.txt").write_text(SECRET)
    command = [sys.executable, "-c", _PROGRAM, str(site_index)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield int(process.stdout.readline())  # type: ignore[union-attr]
        process.terminate()
        log = process.communicate(timeout=20)[0]
        assert "Traceback" not in log


def ask(port: int, request: bytes, *, seconds: float = 5) -> bytes:
    """Send bytes on a connection of its own; return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while part := connection.recv(1 << 16):
                answer += part
        except (ConnectionResetError, BrokenPipeError):  # closed while the rest of a request was sent
            pass
        except TimeoutError:  # the server waits for the rest of an upload
            pass
        return answer


def get(path: bytes, *headers: bytes, method: bytes = b"GET", host: bytes = b"127.0.0.1") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def traversals() -> Iterator[bytes]:
    ups = [b"../", b"..%2f", b"%2e%2e/", b"%2e%2e%2f", b"..%5c", b"....//", b"..%c0%af", b"..%252f", b"..;/"]
    roots = [b"/", b"/static/", b"/video/0/", b"/video/0/0/", b"/frame/0/0/", b"/pictures/"]
    targets = [b"secret.txt", b"etc/passwd"]
    for root in roots:
        for up in ups:
            yield root + up * 6 + targets[len(root + up) % 2]
    yield from (
        b"//etc/passwd",
        b"/static//etc/passwd",
        b"http://127.0.0.1/etc/passwd",
        b"/static/%00",
        b"/%ff%fe",
    )
    yield from (b"/video/0/0%00.mp4", b"/video/0/1e3", b"/video/0/0x1", "/video/0/٣".encode(), b"/video/-1/0")


RANGES = [
    b"bytes=0-999999999999999999999999", b"bytes=-999999999999999999", b"bytes=5-2", b"bytes=a-b", b"bytes=",
    b"lines=1-2", b"bytes=-", b"bytes=0-0,1-1,2-2", b"bytes=" + b"0-," * 3000, b"bytes=" + b"9" * 5000 + b"-",
    b"bytes=0-0," * 900, b"bytes=--1", b"bytes=0-\x00", b"\xff",
]  # fmt: skip
METHODS = [b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"FOO", b"get", b"POST", b"\x80"]
HOSTS = [
    b"evil.example", b"127.0.0.1.evil.example", b"", b"[::", b"127.0.0.1:99999999", b"a" * 9000, b"\xff",
    b"x@127.0.0.1",
]  # fmt: skip
LINES = [
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET /\r\n\r\n", b"\r\n" * 50, b"\x16\x03\x01\x02",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
]  # fmt: skip
QUERIES = [
    b"q=%ff%fe", b"q=%00", b"q=" + b"%26" * 900, b"&" * 3000, b"q=a&q=b&q=c", b"like=0.0.0&like=9",
    b"top=-1&q=x", b"top=1e999&q=x", b"q=x&longer=nan", b"picture=../../etc/passwd", b"like=" + b"9" * 900,
    b"q=%ed%b3%bf", b"moments=%00&q=x",
]  # fmt: skip
STRIPS = [b"9" * 900, b"-".join([b"0.0"] * 300), b"0.-1", "٣.٣".encode(), b".."]
BODIES = [b"", b"\x89PNG\r\n\x1a\n" + bytes(99)]
LENGTHS = [b"99999999999", b"-1", b"x", b"20971521", b"9" * 5000]
CHUNKS = [b"zz\r\n", b"ffffffffffffffff\r\n", b"5\r\nabc", b"0\r\n\r\n"]


def hostile_requests() -> list[bytes]:
    """200 requests, of which none may be answered by a file that is no video of the index, or by a 500."""
    requests = [*LINES, *(get(path) for path in traversals())]
    requests += [get(b"/video/0/0", b"Range: " + value) for value in RANGES]
    requests += [get(b"/video/0/0", b"Range: bytes=0-9", b"If-Range: " + value) for value in (b"x", b"\xe4")]
    requests += [get(path, method=method) for method in METHODS for path in (b"/", b"/video/0/0")]
    requests += [get(b"/", host=host) for host in HOSTS]
    for count in (100, 2000, 9000):
        requests.append(get(b"/", *(b"X-%d: y" % number for number in range(count))))
    requests += [get(b"/", b"X: " + b"y" * size) for size in (9000, 70_000, 500_000)]
    requests += [
        get(b"/", line) for line in (b"Cookie: " + b"a=b; " * 3000, b"Bad Header: x", b": x", b"X: a\0b")
    ]
    requests += [get(b"/?q=" + b"x" * size) for size in (3000, 9000, 200_000)]
    requests += [get(b"/api/search?" + query) for query in QUERIES]
    requests += [get(b"/frame/0/0/0?of=" + value) for value in STRIPS]
    for body in BODIES:
        requests.append(get(b"/pictures", b"Content-Length: %d" % len(body), method=b"POST") + body)
    requests += [get(b"/pictures", b"Content-Length: " + length, method=b"POST") for length in LENGTHS]
    chunked = get(b"/pictures", b"Transfer-Encoding: chunked", method=b"POST")
    requests += [chunked + chunk for chunk in CHUNKS]
    smuggled = get(b"/pictures", b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST")
    requests += [
        smuggled + b"0\r\n\r\nGET /",
        get(b"/", b"Upgrade: websocket"),
        get(b"/", b"Expect: 100-continue"),
    ]
    rng = random.Random(0)  # noqa: S311  (noise, no secret)
    while len(requests) < 200:
        requests.append(get(b"/video/0/0", b"X: y")[: rng.randrange(9, 60)] + rng.randbytes(200))
    return requests


def test_200_hostile_requests_get_nothing(port: int, site_index: Path) -> None:
    requests = hostile_requests()
    assert len(requests) >= 200
    video = (site_index.parent / "videos" / NAMES[0]).read_bytes()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda request: ask(port, request, seconds=2), requests))
    for request, answer in zip(requests, answers, strict=True):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert not head or head.startswith(b"HTTP/1.1 "), request
        assert head[9:10] != b"5" or head[9:12] == b"503", (request, head)  # 503: too many at once
        assert SECRET.encode() not in body, request
        assert b"root:" not in body, request
        assert b"Traceback" not in body, request
        if b"video/mp4" in head:
            assert body in video or request.startswith(b"HEAD"), request
    assert ask(port, get(b"/healthz")).endswith(b"\r\n\r\nok")


def test_slow_clients_are_cut_off_and_others_are_served(port: int) -> None:
    began = time.monotonic()
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
    for number, connection in enumerate(slow):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"[: number % 30])
    assert ask(port, get(b"/healthz")).endswith(b"ok")
    trickling = slow[5]
    try:
        for _ in range(30):
            trickling.sendall(b"X")
            time.sleep(0.1)
    except OSError:
        pass
    for connection in slow:
        try:
            rest = connection.recv(100)
        except ConnectionResetError:
            rest = b""
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400")
        connection.close()
    assert time.monotonic() - began < 5
    assert ask(port, get(b"/healthz")).endswith(b"ok")


def test_more_searches_than_may_wait_are_turned_away(port: int) -> None:
    request = get(b"/api/search?q=a+dog&minus=night&top=9")
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: ask(port, request), range(80)))
    states = [answer[9:12] for answer in answers]
    assert set(states) <= {b"200", b"503"}
    assert states.count(b"200") >= 9
    assert all(b"retry-after: " in answer for answer in answers if answer[9:12] == b"503")


def test_a_port_in_use_is_reported() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(UsageError, match="cannot listen"):
        listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(UsageError, match="cannot listen"):
        listen("host.invalid", 0)


def test_the_command_serves_and_ends_with_its_signal(site_index: Path) -> None:
    with running_server(site_index, "--token", "a b") as (host, port):
        assert host == "127.0.0.1"
        assert b" 401 " in ask(port, get(b"/"))
        assert b"set-cookie: vop-token-" in ask(port, get(b"/?token=a%20b"))
