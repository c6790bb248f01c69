"""Objects on S3-compatible storage: their names, listings, and copies on this machine.

Only names are handled without the extra ``s3``. Endpoint, region and credentials are those of boto3.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PosixPath
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from vopcli.errors import StorageError, UsageError, VideoError, VopError, format_name
from vopcli.files.lock import try_lock

if TYPE_CHECKING:
    from datetime import datetime

_COPY_PREFIX: Final = "vop-s3-"  # of temporary files
_PART_BYTES: Final = 1 << 20
_LIST_ATTEMPTS: Final = 2  # a wrong endpoint is reported within seconds
_READ_ATTEMPTS: Final = 3  # each with as many requests: a busy server must not end a long run
_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 15  # all attempts together take less than `STALLED_SECONDS` of a decoder
_PLACES: Final = "AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and AWS_PROFILE"

_Result = TypeVar("_Result")


class S3Path(PosixPath):
    """The name of an object or a folder on S3, which a `Path` would write as ``s3:/bucket/key``."""

    def __str__(self) -> str:
        return super().__str__().replace("s3:/", "s3://", 1)

    def as_uri(self) -> str:
        """Return the name as a URI."""
        from urllib.parse import quote

        return quote(os.fsencode(self), safe=":/")


def is_remote(name: str | os.PathLike[str]) -> bool:
    """Whether a name is one on S3: ``s3://bucket/key``, also as a `Path` writes it."""
    return os.fspath(name).startswith("s3:/")


def may_exist(file: str | os.PathLike[str], exists: Callable[[str], bool] = os.path.exists) -> bool:
    """Whether a file exists by the given test; one on S3 is assumed to exist, without a request."""
    return is_remote(file) or exists(os.fspath(file))


def named_path(name: str | os.PathLike[str]) -> Path:
    """Return the path of a name on this machine or on S3."""
    return S3Path(name) if is_remote(name) else Path(name)


def absolute_file(name: str) -> str:
    """Return an absolute path; a name on S3 is one."""
    return str(S3Path(name)) if is_remote(name) else os.path.abspath(name)  # noqa: PTH100  (of any bytes)


@dataclass(frozen=True)
class S3Object:
    """An object of a listing.

    Attributes:
        folder: ``s3://bucket/prefix`` that was listed, or that the object lies in if it was named itself.
        path: of the object, relative to ``folder``.
        size: bytes.
        mtime_ns: time of the last change, nanoseconds since 1970. S3 gives full seconds: the fraction is
            derived from the ETag, so that contents of one second differ.
    """

    folder: str
    path: str
    size: int
    mtime_ns: int


def list_objects(name: Path) -> Iterator[S3Object]:
    """List the object of a name, or else those below it, in the order of their keys.

    Raises:
        UsageError: boto3 is not installed, or the name has no bucket.
        StorageError: the bucket does not exist, or S3 does not answer, or refuses.
    """
    bucket, key = split_name(str(name))
    with _explained(str(name)):
        pages = s3_client(_LIST_ATTEMPTS).get_paginator("list_objects_v2")
        first = next(iter(pages.paginate(Bucket=bucket, Prefix=key, PaginationConfig={"PageSize": 1})))
        for item in first.get("Contents", ()):  # the first of all keys that begin so is the key itself
            if key and item["Key"] == key:
                folder, _, path = str(name).rpartition("/")
                yield _listed(folder, path, item)
                return
        prefix = f"{key}/" if key else ""
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield _listed(str(name), item["Key"].removeprefix(prefix), item)


def _listed(folder: str, path: str, item: dict[str, Any]) -> S3Object:
    changed: datetime = item["LastModified"]
    version = hashlib.sha256(item["ETag"].encode()).digest()
    fraction = int.from_bytes(version[:4], "big") % 10**9
    return S3Object(folder, path, item["Size"], int(changed.timestamp()) * 10**9 + fraction)


class RemoteFile:
    """An object on S3 as a file for PyAV, read in parts; for headers, not for whole videos."""

    def __init__(self, name: str) -> None:
        """Read the first part.

        Raises:
            VideoError: the object does not exist, may not be read, or is empty.
            StorageError: S3 does not answer, or refuses.
        """
        self.name, self._place, self._begin = name, 0, 0
        self._part, self.size = _retry(lambda: self._read_part(0))

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        offset = self._place - self._begin
        if not 0 <= offset < len(self._part):
            if self._place >= self.size:
                return b""
            self._part, _ = _retry(lambda: self._read_part(self._place))
            self._begin, offset = self._place, 0
        found = self._part[offset : offset + size]
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as a file does."""
        self._place = offset + (0, self._place, self.size)[whence]
        return self._place

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def _read_part(self, begin: int) -> tuple[bytes, int]:
        bucket, key = split_name(self.name)
        wanted = f"bytes={begin}-{begin + _PART_BYTES - 1}"
        with _explained(self.name):
            answer = s3_client(_READ_ATTEMPTS).get_object(Bucket=bucket, Key=key, Range=wanted)
            return answer["Body"].read(), int(answer["ContentRange"].rpartition("/")[2])


@contextlib.contextmanager
def local_copy(name: str, tick: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Download an object on S3 to a temporary file while it is in use; yield another name as it is.

    The file is locked while it is in use: one that a killed process has left is removed by the next call.

    Args:
        name: of a video; its suffix is that of the file.
        tick: called for every MiB, to report that the work is not stalled.

    Raises:
        VideoError: the object does not exist or may not be read; or one raised while the copy is in use, with
            the name on S3 in place of the copy's.
        StorageError: S3 does not answer, or refuses; or the temporary folder is full.
    """
    if not is_remote(name):
        yield name
        return
    remove_dead_copies()
    with _locked_file(name) as file:
        _retry(lambda: _download(name, file, tick))
        try:
            yield file.name
        except VideoError as error:
            raise VideoError(f"{name}: {error.reason(file.name)}", hint=error.hint) from error


def remove_dead_copies() -> None:
    """Remove the temporary files of processes that were killed."""
    import tempfile

    for path in Path(tempfile.gettempdir()).glob(f"{_COPY_PREFIX}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            if try_lock(file.fileno(), path):
                path.unlink()


@contextlib.contextmanager
def _locked_file(name: str) -> Iterator[IO[bytes]]:
    import tempfile

    with _writing(name):
        while True:
            descriptor, path = tempfile.mkstemp(os.path.splitext(name)[1], _COPY_PREFIX)  # noqa: PTH122
            if try_lock(descriptor, Path(path)):
                break
            os.close(descriptor)  # another process took it for a leftover before it was locked
    try:
        with open(path, "wb") as file:  # noqa: PTH123
            yield file
    finally:
        Path(path).unlink(missing_ok=True)
        os.close(descriptor)


def _download(name: str, file: IO[bytes], tick: Callable[[], None]) -> None:
    bucket, key = split_name(name)
    tick()
    file.seek(0)
    file.truncate()
    with _explained(name):
        body = s3_client(_READ_ATTEMPTS).get_object(Bucket=bucket, Key=key)["Body"]
        for block in body.iter_chunks(_PART_BYTES):
            with _writing(name):
                file.write(block)
            tick()
    with _writing(name):
        file.flush()


def _retry(read: Callable[[], _Result]) -> _Result:
    """Read again if the connection breaks off, which boto3 itself does not once an answer has begun."""
    for _ in range(_READ_ATTEMPTS - 1):
        with contextlib.suppress(StorageError):
            return read()
    return read()


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{name}: no temporary copy can be written ({error.strerror})",
            hint="set TMPDIR to a folder with space for one video per decoder",
        ) from error


def split_name(name: str) -> tuple[str, str]:
    """Return bucket and key.

    Raises:
        UsageError: there is no bucket.
    """
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket:
        raise UsageError(f"{name} names no bucket", hint="write it like s3://bucket/folder")
    return bucket, key


def require_boto3() -> None:
    """Check that the extra is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("boto3") is None:
        raise UsageError("s3:// needs boto3, which is not installed", hint='run `pip install "vopcli[s3]"`')


@functools.cache
def s3_client(attempts: int) -> Any:
    """Return a client that makes this many attempts for each request."""
    import boto3
    from botocore.config import Config

    retries = {"total_max_attempts": attempts, "mode": "standard"}
    return boto3.Session().client(  # thread-safe, as the default session is not
        "s3",
        config=Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries=retries),
    )


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Convert the errors of boto3."""
    require_boto3()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        problem = _refusal(name, error.response)
        raise problem from error
    except (BotoCoreError, ValueError) as error:
        problem = _failure(name, error)
        raise problem from error


def _refusal(name: str, response: dict[str, Any]) -> VopError:
    """Return the error of an answer of S3: a VideoError if it is about this object alone."""
    code, message = response["Error"]["Code"], response["Error"].get("Message", "")
    of_object = {
        "NoSuchKey": ("does not exist", "has it been deleted?"),
        "InvalidRange": ("the file is empty", "copy it again"),
        "AccessDenied": ("access denied", f"check the permissions to list and read, and {_PLACES}"),
        "InvalidObjectState": ("is archived", "restore it first"),
    }
    if code in of_object:
        problem, hint = of_object[code]
        return VideoError(f"{name}: {problem}", hint=hint)
    if code == "NoSuchBucket":
        message = f"there is no bucket {split_name(name)[0]}"
    return StorageError(f"{name}: no access to S3 ({code}: {message})", hint=f"check the name, and {_PLACES}")


def _failure(name: str, error: Exception) -> StorageError:
    """Return the error of a request without an answer."""
    reason, kind = re.sub(r"\?[^\s\"]*", "", " ".join(str(error).split())), type(error).__name__
    hint = f"check the network, and {_PLACES}"
    if "Credential" in kind:
        hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return StorageError(f"{name}: no access to S3 ({format_name(reason, 160)})", hint=hint)
