"""Checks of every request before it is handled: host, token, origin and size; headers of every response."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST_PATH: Final = 300  # characters
_MOST_QUERY: Final = 4000  # bytes
_MOST_RANGE: Final = 100  # characters
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # unless the response has its own
}


def is_loopback(host: str) -> bool:
    """Whether a name or address only reaches this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def choose_token(host: str) -> str | None:
    """Return a random token for a server that other machines can reach; None for other servers."""
    return None if is_loopback(host) else secrets.token_urlsafe(24)


class Guard:
    """An ASGI application that answers improper requests itself and passes on the others.

    Attributes:
        app: the application that handles them.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], token: str | None) -> None:
        """Guard an application.

        Args:
            app: handles the other requests.
            hosts: names that the page may be opened by, besides addresses of this machine; others, such as
                those of DNS rebinding, are refused. Addresses of a wildcard such as 0.0.0.0 are all allowed.
            token: token that each request must have; None: no token is needed.
        """
        self.app, self._token = app, token
        self._hosts = {host.strip("[]").casefold() for host in hosts}
        self._allows_addresses = bool(self._hosts & {"0.0.0.0", "::"})  # noqa: S104  (compared only)
        if self._allows_addresses:
            self._hosts |= {socket.gethostname().casefold(), socket.getfqdn().casefold()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a web socket: the server refuses it
        request = Request(scope, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refuse(request)
        if answer is None:
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"range" or _is_simple_range(v)]
            await self.app(scope, receive, send_with_headers)
        else:
            await answer(scope, receive, send_with_headers)

    def _refuse(self, request: Request) -> Response | None:
        headers = request.headers
        if len(request.url.path) > _MOST_PATH or len(request.scope["query_string"]) > _MOST_QUERY:
            return PlainTextResponse("the address is too long", 414)
        if not self._is_known(headers):
            return PlainTextResponse("this name is not served here", 421)
        if not _is_same_site(request):
            return PlainTextResponse("requests of other sites are refused", 403)
        if self._token is not None:
            return self._check_token(request, self._token)
        return None

    def _is_known(self, headers: Headers) -> bool:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return False
        try:
            parts = urlsplit(f"//{hosts[0]}")
            _ = parts.port
            name = (parts.hostname or "").casefold()
        except ValueError:
            return False
        return (
            parts.netloc == hosts[0]
            and "@" not in hosts[0]
            and (is_loopback(name) or name in self._hosts or (self._allows_addresses and _is_address(name)))
        )

    def _check_token(self, request: Request, token: str) -> Response | None:
        """Return a response to a request without the token; one with it in its address gets a cookie."""
        cookie = f"vop-token-{request.url.port or 80}"
        given = request.query_params.get("token")
        if given is not None and request.method == "GET" and _equal(given, token):
            response = RedirectResponse("/", 303)
            response.set_cookie(cookie, _digest(token), httponly=True, samesite="strict", max_age=30 * 86400)
            return response
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(bearer, token):
            return None
        if _equal(request.cookies.get(cookie, ""), _digest(token)):
            return None
        return PlainTextResponse(
            "open the address with the token that `vop serve` has printed",
            401,
            {"www-authenticate": "Bearer"},
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same_site(request: Request) -> bool:
    """Whether a request comes from the page itself, from a link to it, or from no page."""
    headers = request.headers
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers["host"]:
        return False
    is_link = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    return is_link or headers.get("sec-fetch-site", "none") not in {"cross-site", "same-site"}


def _is_simple_range(value: bytes) -> bool:
    """Whether a Range header names one range; others may be ignored, and the whole file is sent."""
    return len(value) <= _MOST_RANGE and b"," not in value


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
