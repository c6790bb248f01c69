"""Fetch an official weights file once: resumed where it broke off, checked by SHA-256, renamed when whole.

A file in the cache is trusted after its SHA-256 was right once: ``<file>.sha256`` beside it then keeps the
digest with the file's size and time of change, and while those two are the same nothing is hashed again. A
file that somebody put there is treated alike.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vopcli.errors import UsageError, WeightsError
from vopcli.progress import Progress
from vopcli.weights.catalog import BASE_URL, CatalogEntry

CHUNK_BYTES: Final = 1 << 18
TIMEOUT_SECONDS: Final = 30.0
PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)  # before each new try; begun anew once some megabytes came
PROGRESS_BYTES: Final = 1 << 22
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Source:
    """Where a file comes from and how patiently it is asked for."""

    base_url: str = BASE_URL
    pauses_seconds: tuple[float, ...] = PAUSES_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS

    def url(self, entry: CatalogEntry) -> str:
        """Return the address of ``entry``: the base itself if it is a ``.pt``, else below it.

        Raises:
            UsageError: the base is not an http or https address.
        """
        parts = urllib.parse.urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise UsageError(f"{self.base_url!r} is not an http or https address")
        if parts.path.endswith(".pt"):
            return self.base_url
        return f"{self.base_url.rstrip('/')}/{entry.sha256}/{entry.file}"


class _BrokenError(Exception):
    """The transfer broke off in a way that may pass."""


def is_verified(entry: CatalogEntry, path: Path) -> bool:
    """Say whether ``path`` is the official file; it is hashed only if it changed since it was right.

    Raises:
        WeightsError: the file is another than the official one.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        return False
    status = path.stat()
    verdict = {"sha256": entry.sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    marker = path.with_name(f"{path.name}.sha256")
    with contextlib.suppress(OSError, ValueError):
        if json.loads(marker.read_text()) == verdict:
            return True
    digest = sha256(path)
    if digest != entry.sha256:
        raise WeightsError(
            f"{path} is not OpenAI's {entry.name}: its SHA-256 begins with {digest[:12]}",
            hint=f"remove it and run `vop weights get {entry.name}`; to use this very file, give its path",
        )
    with contextlib.suppress(OSError):  # a cache that cannot be written to is hashed each time
        marker.write_text(json.dumps(verdict))
    return True


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(
    entry: CatalogEntry,
    cache: Path,
    progress: Progress,
    *,
    source: Source | None = None,
    download: bool = True,
) -> Path:
    """Return the official file from the cache, after fetching it if it is not there.

    Args:
        entry: which model.
        cache: the folder to keep it in; made if need be.
        progress: told of the bytes as they come.
        source: where from.
        download: False to fail where a download would be needed.

    Raises:
        WeightsError: it cannot be had, or what came is not the official file.
        UsageError: the source's address is not one.
        KeyboardInterrupt: the user stopped it; what came is kept for the next time.
    """
    source = source or Source()
    target = cache / entry.file
    url = source.url(entry)
    try:
        if is_verified(entry, target):
            return target
        if not download:
            raise WeightsError(f"{entry.name} is not in {cache}", hint=f"run `vop weights get {entry.name}`")
        cache.mkdir(parents=True, exist_ok=True)
        with _only_one(cache / f".{entry.file}.lock", entry, progress):
            if not is_verified(entry, target):
                _Download(entry, url, target, source, progress).run()
                is_verified(entry, target)
    except OSError as error:
        raise WeightsError(
            f"{target} cannot be read or written: {error.strerror or error}",
            hint="is there room and permission? VOP_CACHE names another folder",
        ) from error
    return target


@contextlib.contextmanager
def _only_one(lock: Path, entry: CatalogEntry, progress: Progress) -> Iterator[None]:
    """Let one process at a time fetch a file; the system frees the lock of a process that was killed."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"another process is fetching {entry.name}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Download:
    """One file on its way; ``<file>.part`` beside the target holds what has come."""

    def __init__(
        self, entry: CatalogEntry, url: str, target: Path, source: Source, progress: Progress
    ) -> None:
        self._entry, self._url, self._target, self._source = entry, url, target, source
        self._part = target.with_name(f"{target.name}.part")
        self._progress = progress
        self._opener = urllib.request.build_opener()  # with the proxies that the environment names

    def run(self) -> None:
        """Fetch, check and rename; wrong bytes that were resumed are fetched once more from the start.

        Raises:
            WeightsError: the server does not have the file or cannot be reached.
        """
        resumed = self._num_here() > 0
        self._transfer()
        digest = sha256(self._part)
        if digest != self._entry.sha256 and resumed:
            self._progress.warn(f"{self._entry.file} was wrong after resuming: fetching it once more, whole")
            self._part.unlink()
            self._transfer()
            digest = sha256(self._part)
        if digest != self._entry.sha256:
            size = self._num_here()
            self._part.unlink()
            raise self._error(
                f"{self._url} sent {size} bytes that are not {self._entry.name} (SHA-256 {digest[:16]}...)"
            )
        self._part.replace(self._target)

    def _transfer(self) -> None:
        """Ask again, after growing pauses, until the file is whole or the server stays silent.

        Raises:
            WeightsError: it stays silent, or says something that will not change.
        """
        tries, mark = 0, self._num_here()
        while True:
            try:
                return self._attempt()
            except _BrokenError as broken:
                here = self._num_here()
                if here - mark >= PROGRESS_BYTES:
                    tries, mark = 0, here
                if tries == len(self._source.pauses_seconds):
                    raise self._error(f"{self._url} broke off {tries + 1} times: {broken}") from broken
                pause = self._source.pauses_seconds[tries]
                tries += 1
                self._progress.warn(f"{self._entry.file}: {broken}; trying again in {pause:g} s")
                time.sleep(pause)

    def _attempt(self) -> None:
        """Ask for what is missing and take what comes.

        Raises:
            WeightsError: asking again will not help.
            _BrokenError: it may.
        """
        begin = self._num_here()
        headers = {"User-Agent": "vop", "Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310  http or https: see Source.url
        try:
            with self._opener.open(request, timeout=self._source.timeout_seconds) as response:
                self._receive(response, begin)
        except urllib.error.HTTPError as error:
            error.close()
            self._refused(error.code, str(error.reason), begin)
        except (http.client.InvalidURL, ssl.SSLCertVerificationError) as error:
            raise self._unreachable(error) from error
        except urllib.error.URLError as error:  # no connection came about
            if not begin or isinstance(error.reason, ssl.SSLCertVerificationError):
                raise self._unreachable(error.reason) from error
            raise _BrokenError(str(error.reason)) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _BrokenError(str(error) or type(error).__name__) from error

    def _refused(self, code: int, reason: str, begin: int) -> None:
        """Judge an error that the server sent.

        Raises:
            WeightsError: it will stay.
            _BrokenError: it may pass.
        """
        if code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and begin:
            if sha256(self._part) == self._entry.sha256:
                return  # all of it was here already
            self._part.unlink()
            raise _BrokenError("the partial file does not fit the server's")
        if code in _PASSING:
            raise _BrokenError(f"the server says {code} {reason}")
        raise self._error(f"{self._url}: the server says {code} {reason}")

    def _receive(self, response: http.client.HTTPResponse, begin: int) -> None:
        """Write a response's body behind what is here, or from the start if the server begins there.

        Raises:
            WeightsError: it is a web page, or far too long, or there is no room for it.
            _BrokenError: it ended early.
        """
        if "html" in response.headers.get("Content-Type", "").lower():
            raise self._error(f"{self._url} sent a web page instead of the file")
        if response.status != http.client.PARTIAL_CONTENT:
            begin = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            self._part.unlink(missing_ok=True)
            raise _BrokenError("the server sent another range than asked for")
        length = response.headers.get("Content-Length", "")
        total = begin + int(length) if length.isdecimal() and len(length) < 18 else None
        self._check_room(begin, total)
        with (
            self._progress.task(self._entry.file, total=total, unit="B") as task,
            self._part.open("ab" if begin else "wb") as part,
        ):
            task.advance(begin)
            received = begin
            while chunk := _read(response):
                received += len(chunk)
                if received > self._limit():
                    raise self._error(f"{self._url} sends far more than {self._entry.name} has")
                part.write(chunk)
                task.advance(len(chunk))
            part.flush()
            os.fsync(part.fileno())
        if total is not None and received < total:
            raise _BrokenError(f"the connection ended after {received} of {total} bytes")

    def _check_room(self, begin: int, total: int | None) -> None:
        wanted = self._entry.num_bytes if total is None else total
        if wanted > self._limit():
            raise self._error(f"{self._url} would send {wanted} bytes, far more than {self._entry.name} has")
        free = shutil.disk_usage(self._target.parent).free
        if wanted - begin > free:
            raise WeightsError(
                f"{self._target.parent} has room for {free / 1e6:.0f} MB, {self._entry.file} needs "
                f"{(wanted - begin) / 1e6:.0f} MB more",
                hint="make room, or let VOP_CACHE name another folder",
            )

    def _limit(self) -> int:
        return self._entry.num_bytes * 5 // 4 + (1 << 20)

    def _num_here(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _unreachable(self, reason: object) -> WeightsError:
        why = getattr(reason, "strerror", None) or str(reason)
        name, folder = self._entry.name, self._target.parent
        return self._error(f"{name} is not in {folder}, and {self._url} cannot be reached: {why}")

    def _error(self, problem: str) -> WeightsError:
        return WeightsError(
            problem,
            hint=f"fetch the file elsewhere and put it at {self._target} (or try a mirror: "
            f"vop weights get {self._entry.name} --url ADDRESS)",
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the next bytes of a body; what goes wrong here is the network's, not the disk's.

    Raises:
        _BrokenError: the connection broke or fell silent.
    """
    try:
        return response.read1(CHUNK_BYTES)  # what is there: a break then costs nothing that came before it
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(str(error) or type(error).__name__) from error
