"""Adapters on the Hugging Face hub: ``hf://owner/name`` names one, and a run is pushed to one.

`huggingface_hub` reads ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from vopcli.errors import DataError, UsageError, format_name
from vopcli.methods.adapter_file import ADAPTER_NAME

PREFIX: Final = "hf://"
_ON_HUB: Final = re.compile(r"hf:/{1,2}(.*)")  # a path has one slash: Path("hf://a/b") is "hf:/a/b"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def repository_of(name: str | Path) -> str | None:
    """Return ``owner/name`` of a name that begins with ``hf://``; None if it does not.

    Raises:
        UsageError: what follows is not the name of a repository.
    """
    found = _ON_HUB.fullmatch(str(name))
    return check_repository(found[1]) if found else None


def check_repository(repository: str) -> str:
    """Return ``repository`` if it has the form ``owner/name``.

    Raises:
        UsageError: it has not.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(
            f"{format_name(repository)} is not the name of a repository", hint="write it like owner/name"
        )
    return repository


def pull_adapter(repository: str) -> Path:
    """Return the adapter file of a repository in the cache of the hub, downloaded if missing or changed.

    Raises:
        DataError: the download failed, or the repository has no adapter.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with _hub_errors(repository):
        try:
            return Path(hf_hub_download(repository, ADAPTER_NAME))
        except RemoteEntryNotFoundError as error:
            raise DataError(
                f"{PREFIX}{repository} has no {ADAPTER_NAME}", hint="name one that `vop push` wrote"
            ) from error


def push_files(repository: str, files: Mapping[str, Path], *, message: str, is_private: bool) -> str:
    """Write files to a repository in one commit, creating it if it is missing; return its address.

    Args:
        repository: ``owner/name``.
        files: local files by their names in the repository.
        message: of the commit.
        is_private: create a repository that only its owner sees; one that exists is left as it is.

    Raises:
        DataError: the hub cannot be reached, or refuses the files.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with _hub_errors(repository):
        api = HfApi(library_name="vopcli")
        address = api.create_repo(repository, private=is_private or None, exist_ok=True)
        changes = [CommitOperationAdd(name, path) for name, path in files.items()]
        api.create_commit(repository, changes, commit_message=message)
    return str(address)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Report an error of the hub.

    Raises:
        DataError: always, in place of the library's error.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, LocalTokenNotFoundError

    http_error = cast("type[Exception]", HfHubHTTPError.__bases__[0])  # of its HTTP library
    login = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise DataError("the Hugging Face hub needs an account for this", hint=login) from error
    except (LocalEntryNotFoundError, http_error, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403, 404}:
            problem = f"{PREFIX}{repository} does not exist on the hub, or is not open to you"
            raise DataError(problem, hint=login) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"the Hugging Face hub cannot be used for {PREFIX}{repository}: {reason}",
            hint="check the connection; HF_ENDPOINT names a mirror",
        ) from error
