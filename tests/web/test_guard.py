"""Hosts, tokens, origins and sizes of requests, and the headers of all responses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.web import client_of, make_site
from vopcli.web.guard import choose_token, is_loopback

TOKEN = "correct horse/ü"


@pytest.fixture(scope="module")
def site(site_index: Path):
    return make_site(site_index)[0]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST:1", 200),
        ("127.9.9.9", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example@127.0.0.1", 421),
        ("192.168.0.1", 421),
        ("0x7f000001", 421),
        ("127.0.0.1:port", 421),
        ("127.0.0.1/", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_are_served(site, host: str, status: int) -> None:
    assert client_of(site).get("/healthz", headers={"host": host}).status_code == status


def test_the_host_that_was_chosen_is_served(site) -> None:
    client = client_of(site, hosts=("films.example",))
    assert client.get("/healthz", headers={"host": "Films.example:80"}).status_code == 200
    assert client.get("/healthz", headers={"host": "10.0.0.7"}).status_code == 421
    every = client_of(site, hosts=("0.0.0.0",))
    assert every.get("/healthz", headers={"host": "10.0.0.7:8000"}).status_code == 200
    assert every.get("/healthz", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ("GET", {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}, 200),
        ("GET", {"origin": "http://127.0.0.1:9999"}, 403),
        ("GET", {"origin": "null"}, 403),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(site, method: str, headers: dict[str, str], status: int) -> None:
    assert client_of(site).request(method, "/", headers=headers).status_code == status


def test_a_token_opens_the_page_once_and_then_the_cookie_does(site) -> None:
    client = client_of(site, token=TOKEN)
    for address in (
        "/",
        "/healthz",
        "/static/page.js",
        "/?token=wrong",
        "/api/search?q=x&token=",
        "/video/0/0",
    ):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    opened = client.get("/", params={"token": TOKEN})
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200  # the client keeps the cookie
    assert TOKEN not in str(dict(client.cookies))
    client.cookies.clear()
    client.cookies.set("vop-token-8000", "wrong")
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    ("value", "status"), [("Bearer abc", 200), ("bearer abc", 200), ("Basic abc", 401), ("Bearer", 401)]
)
def test_programs_send_the_token_in_a_header(site, value: str, status: int) -> None:
    assert (
        client_of(site, token="abc").get("/healthz", headers={"authorization": value}).status_code == status
    )


@pytest.mark.parametrize("address", ["/" + "x" * 301, "/?q=" + "x" * 4000, "/video/0/" + "9" * 5000])
def test_long_addresses_are_refused(site, address: str) -> None:
    assert client_of(site).get(address).status_code == 414


@pytest.mark.parametrize("address", ["/", "/?q=x", "/nothing", "/api/info", "/static/page.css", "/video/0/0"])
def test_every_response_restricts_what_a_browser_does_with_it(site, address: str) -> None:
    headers = client_of(site).get(address).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not any(name.startswith("access-control") for name in headers)


def test_other_hosts_need_a_token() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "films.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert choose_token("127.0.0.1") is None
    first, second = choose_token("0.0.0.0"), choose_token("0.0.0.0")
    assert first != second
    assert len(first) >= 32
