"""The HTTP server: its socket, and limits on slow and malformed requests."""

from __future__ import annotations

import socket
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vopcli.errors import UsageError

DEFAULT_REQUEST_SECONDS: Final = 15.0
_MOST_HEADERS: Final = 16 << 10  # bytes
_MOST_CONNECTIONS: Final = 256


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: the address is not one of this machine, or another program uses the port.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}",
            hint="choose another with --port or --host",
        ) from None


def run_server(
    app: ASGIApp, listener: socket.socket, *, request_seconds: float = DEFAULT_REQUEST_SECONDS
) -> None:
    """Handle requests until SIGINT or SIGTERM.

    Args:
        app: the application.
        listener: a socket that listens.
        request_seconds: time for the line and the headers of a request, and between two requests.
    """
    protocol = type("_TimedProtocol", (_Protocol,), {"request_seconds": request_seconds})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_MOST_HEADERS,
        timeout_graceful_shutdown=2,  # seconds; players keep connections open
    )
    uvicorn.Server(config).run(sockets=[listener])


class _Protocol(H11Protocol):
    """Close connections that do not send a whole request in time, byte by byte or not at all."""

    request_seconds = DEFAULT_REQUEST_SECONDS

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._finished = self.loop.time()
        self.loop.call_later(self.request_seconds, self._check)

    def on_response_complete(self) -> None:
        self._finished = self.loop.time()
        super().on_response_complete()

    def _check(self) -> None:
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        left = (
            self.request_seconds if is_answering else self._finished + self.request_seconds - self.loop.time()
        )
        if left <= 0:
            self.transport.close()
        else:
            self.loop.call_later(left, self._check)
