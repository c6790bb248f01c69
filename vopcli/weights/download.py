"""Download official weights: resume a partial file, check its SHA-256, rename it when complete."""

from __future__ import annotations

import contextlib
import http.client
import math
import os
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vopcli.errors import UsageError, WeightsError, format_value
from vopcli.files.atomic import hash_file
from vopcli.files.lock import try_lock
from vopcli.progress import Progress
from vopcli.weights.catalog import BASE_URL, CatalogEntry, is_verified

_CHUNK_BYTES: Final = 1 << 18


def fetch(
    entry: CatalogEntry,
    cache: Path,
    progress: Progress,
    *,
    base_url: str = BASE_URL,
    timeout_seconds: float = 30.0,
    download: bool = True,
) -> Path:
    """Return the official file in the cache, downloading it if it is missing.

    Args:
        entry: the model.
        cache: folder of the file, created if missing.
        progress: counts the bytes.
        base_url: address of the server's folder, or of the file itself if it ends in ``.pt``.
        timeout_seconds: maximum time between two chunks of the response.
        download: False to fail instead of downloading.

    Raises:
        WeightsError: the download failed, or did not give the official file.
        UsageError: `base_url` is not an http or https address.
    """
    target, url = cache / entry.file, _file_url(entry, base_url)
    try:
        if is_verified(entry, target):
            return target
        if not download:
            raise WeightsError(f"{entry.name} is not in {cache}", hint=f"run `vop weights get {entry.name}`")
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache / f".{entry.file}.lock", entry, progress):
            if not is_verified(entry, target):
                _Download(entry, url, target, timeout_seconds, progress).run()
    except OSError as error:
        raise WeightsError(
            f"{target} cannot be read or written: {error.strerror or error}",
            hint="check disk space and permissions, or name another folder with VOP_CACHE",
        ) from error
    return target


def _file_url(entry: CatalogEntry, base_url: str) -> str:
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageError(f"{format_value(base_url)} is not an http or https address")
    return base_url if parts.path.endswith(".pt") else f"{base_url.rstrip('/')}/{entry.sha256}/{entry.file}"


@contextlib.contextmanager
def _lock(path: Path, entry: CatalogEntry, progress: Progress) -> Iterator[None]:
    """Let one process at a time download a file; the lock of a killed process is released by the system."""
    with path.open("ab") as file:
        if not try_lock(file.fileno(), path):
            progress.note(f"waiting for another process that downloads {entry.name}")
            try_lock(file.fileno(), path, timeout_seconds=math.inf)
        yield


@dataclass(frozen=True)
class _Download:
    """One file; ``<file>.part`` beside the target keeps the bytes received so far."""

    entry: CatalogEntry
    url: str
    target: Path
    timeout_seconds: float
    progress: Progress

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    def run(self) -> None:
        """Resume, check and rename; if the resumed file is wrong, download it once from the start."""
        size = self.part.stat().st_size if self.part.exists() else 0
        for begin in dict.fromkeys((size, 0)):
            self._receive(begin)
            if hash_file(self.part).hex() == self.entry.sha256:
                self.part.replace(self.target)
                is_verified(self.entry, self.target)  # writes the marker
                return
            size = self.part.stat().st_size
            self.part.unlink()
            self.progress.warn(f"{self.part} did not have the SHA-256 of {self.entry.name} and was removed")
        raise self._error(f"sent {size} bytes that are not {self.entry.name}")

    def _receive(self, begin: int) -> None:
        headers = {"User-Agent": "vop", "Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310  checked by _file_url
        opener = urllib.request.build_opener()  # with the proxies that the environment names now
        try:
            with opener.open(request, timeout=self.timeout_seconds) as response:
                self._save(response, begin)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not begin:
                raise self._error(f"answers {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise self._error(f"cannot be reached: {reason}") from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise self._error(f"broke off: {str(error) or type(error).__name__}") from error

    def _save(self, response: http.client.HTTPResponse, begin: int) -> None:
        """Append the body to the partial file, or replace it if the server starts at the first byte."""
        if "html" in response.headers.get("Content-Type", "").lower():
            raise self._error("sent a web page instead of the file")
        if response.status != http.client.PARTIAL_CONTENT:
            begin = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            return  # not the requested range: the SHA-256 will be wrong, and all be downloaded
        length = response.headers.get("Content-Length", "")
        total = begin + int(length) if length.isdecimal() and len(length) < 18 else None
        limit = self.entry.num_bytes * 5 // 4 + (1 << 20)
        size, free = total or self.entry.num_bytes, shutil.disk_usage(self.target.parent).free
        if size > limit:
            raise self._error(f"would send {size} bytes, far more than {self.entry.name} has")
        if size - begin > free:
            raise self._error(f"is larger than the {free / 1e6:.0f} MB free in {self.target.parent}")
        with (
            self.progress.task(self.entry.file, total=total, unit="B") as task,
            self.part.open("ab" if begin else "wb") as part,
        ):
            task.advance(begin)
            received = begin
            while chunk := response.read1(_CHUNK_BYTES):  # no more than has arrived, so nothing is lost
                received += len(chunk)
                if received > limit:
                    raise self._error(f"sends far more bytes than {self.entry.name} has")
                part.write(chunk)
                task.advance(len(chunk))
            part.flush()
            os.fsync(part.fileno())
        if total is not None and received < total:
            raise self._error(f"broke off after {received} of {total} bytes")

    def _error(self, problem: str) -> WeightsError:
        return WeightsError(
            f"{self.url} {problem}",
            hint=f"run the command again, which resumes the download; or put the file at {self.target}, or "
            f"try a mirror: `vop weights get {self.entry.name} --url ADDRESS`",
        )
