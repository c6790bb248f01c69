from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import Answer, Server, serve
from vopcli.errors import UsageError, WeightsError
from vopcli.progress import SilentProgress
from vopcli.weights.catalog import CatalogEntry
from vopcli.weights.download import fetch

CONTENT = os.urandom(700_001)
ENTRY = CatalogEntry("ViT-B/32", "ViT-B-32.pt", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(CONTENT) as running:
        yield running


class Recorder(SilentProgress):
    """Keeps what was said and how far the bar went."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.totals: list[int | None] = []
        self.done = 0

    def task(self, title: str, *, total: int | None, unit: str) -> Recorder:
        assert (title, unit) == (ENTRY.file, "B")
        self.totals.append(total)
        self.done = 0
        return self

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def note(self, message: str) -> None:
        self.said.append(message)

    warn = note


def get(server: Server, cache: Path, progress: Recorder | None = None, entry: CatalogEntry = ENTRY) -> Path:
    return fetch(entry, cache, progress or Recorder(), base_url=server.url, timeout_seconds=3.0)


def leave_part(cache: Path, content: bytes) -> None:
    cache.mkdir(exist_ok=True)
    (cache / f"{ENTRY.file}.part").write_bytes(content)


def files(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if not path.name.startswith(".")}


def test_file_comes_whole_and_once(server: Server, tmp_path: Path) -> None:
    progress = Recorder()
    path = get(server, tmp_path / "new" / "cache", progress)
    assert path == tmp_path / "new" / "cache" / "ViT-B-32.pt"
    assert path.read_bytes() == CONTENT
    assert server.paths == [f"/{ENTRY.sha256}/ViT-B-32.pt"]
    assert progress.totals == [len(CONTENT)]
    assert progress.done == len(CONTENT)
    get(server, path.parent)
    assert len(server.paths) == 1
    assert files(path.parent) == {"ViT-B-32.pt", "ViT-B-32.pt.sha256"}


def test_own_address_of_a_mirror_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    fetch(ENTRY, tmp_path, Recorder(), base_url=f"{server.url}/some/where.pt")
    assert server.paths == ["/some/where.pt"]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/x", "host/x", "", "http:///x"])
def test_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an http or https address"):
        fetch(ENTRY, tmp_path, Recorder(), base_url=address)


@pytest.mark.parametrize("way", ["cut_after", "close_after"])
def test_broken_download_is_resumed_by_the_next_call(server: Server, tmp_path: Path, way: str) -> None:
    server.answers = [Answer(**{way: 100_000}), Answer(**{way: 200_000}), Answer()]
    for received in (100_000, 300_000):
        with pytest.raises(WeightsError, match="broke off") as caught:
            get(server, tmp_path)
        assert "run the command again" in caught.value.hint
        assert (tmp_path / "ViT-B-32.pt.part").read_bytes() == CONTENT[:received]
    progress = Recorder()
    assert get(server, tmp_path, progress).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=300000-"]
    assert progress.totals[-1] == progress.done == len(CONTENT)
    assert progress.said == []


def test_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:5000])
    server.answers = [Answer(ignores_range=True)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=5000-"]


def test_server_that_sends_another_range_is_asked_for_the_whole(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:5000])
    server.answers = [Answer(wrong_range=True), Answer()]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=5000-", None]


def test_wrong_part_is_thrown_away_once(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, b"x" * 5000)
    progress = Recorder()
    assert get(server, tmp_path, progress).read_bytes() == CONTENT
    assert server.ranges == ["bytes=5000-", None]
    assert "did not have the SHA-256 of ViT-B/32 and was removed" in progress.said[0]


@pytest.mark.parametrize("extra", [b"", b"more"], ids=["whole", "too long"])
def test_part_that_needs_nothing_more(server: Server, tmp_path: Path, extra: bytes) -> None:
    leave_part(tmp_path, CONTENT + extra)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(body=b"y" * len(CONTENT))]
    with pytest.raises(WeightsError, match=r"sent 700001 bytes that are not ViT-B/32") as caught:
        get(server, tmp_path)
    assert str(tmp_path / "ViT-B-32.pt") in caught.value.hint
    assert files(tmp_path) == set()


def test_wrong_bytes_after_a_resume_are_asked_for_twice_only(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:5000])
    server.answers = [Answer(body=b"y" * len(CONTENT))]
    with pytest.raises(WeightsError, match="are not ViT-B/32"):
        get(server, tmp_path)
    assert server.ranges == ["bytes=5000-", None]


def test_length_that_is_too_large_is_found_out(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(declared=len(CONTENT) + 999), Answer()]
    with pytest.raises(WeightsError, match="broke off after 700001 of 701000 bytes"):
        get(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=700001-"]  # the second answer is that nothing is left


def test_length_that_is_too_small_is_found_out(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(declared=1234)]
    with pytest.raises(WeightsError, match="sent 1234 bytes that are not ViT-B/32"):
        get(server, tmp_path)


def test_length_may_be_missing(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(has_length=False)]
    progress = Recorder()
    assert get(server, tmp_path, progress).read_bytes() == CONTENT
    assert progress.totals == [None]


def test_endless_or_absurd_bodies_are_stopped(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(declared=10**12)]
    with pytest.raises(WeightsError, match="would send 1000000000000 bytes, far more"):
        get(server, tmp_path)
    server.answers = [Answer(body=b"z" * 4_000_000, has_length=False)]
    with pytest.raises(WeightsError, match="sends far more bytes than ViT-B/32 has"):
        get(server, tmp_path)
    assert (tmp_path / "ViT-B-32.pt.part").stat().st_size < 2_500_000


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
def test_refusal_is_final(server: Server, tmp_path: Path, status: int) -> None:
    server.answers = [Answer(status=status, body=b"no")]
    with pytest.raises(WeightsError, match=f"answers {status}") as caught:
        get(server, tmp_path)
    assert len(server.ranges) == 1
    assert "--url" in caught.value.hint


def test_web_page_is_named(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(body=b"<html>log in</html>", content_type="text/html; charset=utf-8")]
    with pytest.raises(WeightsError, match="sent a web page instead"):
        get(server, tmp_path)
    assert files(tmp_path) == set()


def test_redirect_is_followed_with_its_range(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:5000])
    server.answers = [
        Answer(status=302, body=b"", location=f"{server.url}/elsewhere", ignores_range=True),
        Answer(),
    ]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.paths[-1] == "/elsewhere"
    assert server.ranges == ["bytes=5000-"] * 2


def test_redirect_without_end_is_an_error(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(status=302, body=b"", location=f"{server.url}/round")]
    with pytest.raises(WeightsError, match="302"):
        get(server, tmp_path)


def test_silent_server_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(silent=True)]
    with pytest.raises(WeightsError, match=r"broke off: timed out|cannot be reached: timed out"):
        fetch(ENTRY, tmp_path, Recorder(), base_url=server.url, timeout_seconds=0.2)
    server.is_half_sent.set()


def test_offline_gives_one_line_with_the_address_and_the_place(tmp_path: Path) -> None:
    with serve(b"") as closed:
        url = closed.url  # a port that nobody listens on any more
    began = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        fetch(ENTRY, tmp_path, Recorder(), base_url=url)
    assert time.monotonic() - began < 2
    assert "\n" not in str(caught.value)
    address = f"{url}/{ENTRY.sha256}/ViT-B-32.pt"
    assert f"{address} cannot be reached: Connection refused" in str(caught.value)
    assert str(tmp_path / "ViT-B-32.pt") in caught.value.hint


def test_unknown_host_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"http://nowhere\.invalid/.* cannot be reached: "):
        fetch(ENTRY, tmp_path, Recorder(), base_url="http://nowhere.invalid")


def test_proxy_of_the_environment_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    fetch(ENTRY, tmp_path, Recorder(), base_url="http://models.invalid/clip")
    assert server.paths == [f"http://models.invalid/clip/{ENTRY.sha256}/ViT-B-32.pt"]


def test_without_download_nothing_is_asked(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"ViT-B/32 is not in ") as caught:
        fetch(ENTRY, tmp_path / "none", Recorder(), base_url=server.url, download=False)
    assert "vop weights get ViT-B/32" in caught.value.hint
    assert not server.paths
    assert not (tmp_path / "none").exists()


def test_file_put_there_by_hand_is_hashed_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / ENTRY.file
    path.write_bytes(CONTENT)
    assert get(server, tmp_path) == path
    verdict = json.loads((tmp_path / "ViT-B-32.pt.sha256").read_text())
    assert verdict["sha256"] == ENTRY.sha256
    status = path.stat()
    path.write_bytes(b"z" * len(CONTENT))  # same size and, below, time: known as checked
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert get(server, tmp_path) == path
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match=r"is not OpenAI's ViT-B/32: its SHA-256 begins with"):
        get(server, tmp_path)
    assert not server.paths
    assert path.exists()  # the user's own file is never removed


def test_folder_that_cannot_be_made_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be read or written: Not a directory") as caught:
        get(server, tmp_path / "file" / "cache")
    assert "VOP_CACHE" in caught.value.hint


def test_disk_that_fills_up_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ViT-B-32.pt.part").symlink_to("/dev/full")
    with pytest.raises(
        WeightsError, match=r"ViT-B-32\.pt cannot be read or written: No space left on device"
    ):
        get(server, tmp_path)


def test_file_larger_than_the_room_is_refused_before_it_starts(server: Server, tmp_path: Path) -> None:
    entry = CatalogEntry(ENTRY.name, ENTRY.file, ENTRY.sha256, 10**15)
    server.answers = [Answer(declared=10**15)]
    with pytest.raises(WeightsError, match=r"is larger than the \d+ MB free in "):
        get(server, tmp_path, entry=entry)


CHILD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from vopcli.weights.catalog import CatalogEntry
from vopcli.weights.download import fetch
from vopcli.progress import SilentProgress
class Loud(SilentProgress):
    def note(self, message): print(message, flush=True)
entry = CatalogEntry("ViT-B/32", "ViT-B-32.pt", {ENTRY.sha256!r}, {ENTRY.num_bytes})
print(fetch(entry, Path(sys.argv[1]), Loud(), base_url=sys.argv[2]), flush=True)
"""


def start_child(cache: Path, server: Server) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(cache), server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_it_once(server: Server, tmp_path: Path) -> None:
    hold = threading.Event()
    server.answers = [Answer(hold=hold)]
    first = start_child(tmp_path, server)
    assert server.is_half_sent.wait(20)
    second = start_child(tmp_path, server)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting for another process that downloads ViT-B/32\n"
    hold.set()
    for child in (first, second):
        out, err = child.communicate(timeout=20)
        assert (child.returncode, err) == (0, "")
        assert out.endswith(f"{tmp_path / ENTRY.file}\n")
    assert len(server.paths) == 1
    assert (tmp_path / ENTRY.file).read_bytes() == CONTENT


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_stopped_process_leaves_its_part_and_no_lock(
    server: Server, tmp_path: Path, how: signal.Signals
) -> None:
    hold = threading.Event()
    server.answers = [Answer(hold=hold), Answer()]
    child = start_child(tmp_path, server)
    assert server.is_half_sent.wait(20)
    part = tmp_path / "ViT-B-32.pt.part"
    deadline = time.monotonic() + 10
    while (not part.exists() or not part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(how)
    child.communicate(timeout=20)
    hold.set()
    size = part.stat().st_size
    assert 0 < size < len(CONTENT)
    assert part.read_bytes() == CONTENT[:size]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={size}-"]


def test_oracle_server_is_honest_by_default(server: Server) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("GET", "/", headers={"Range": "bytes=10-"})
    response = connection.getresponse()
    assert (response.status, response.read()) == (206, CONTENT[10:])
    connection.close()
