"""Adapters on the Hugging Face hub: read them by names like ``hf://owner/name``, and push those of runs.

`huggingface_hub` reads ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vopcli.errors import DataError, UsageError, format_name
from vopcli.weights.hub import LOGIN, hub_errors

PREFIX: Final = "hf://"
_ON_HUB: Final = re.compile(r"hf:/{1,2}(.*)")  # a path has one slash: Path("hf://a/b") is "hf:/a/b"


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
        UsageError: it does not have this form.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    problem = f"{format_name(repository)} is not the name of a repository"
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError(problem, hint=f"write it like owner/name: {error}") from error
    if "/" not in repository:
        raise UsageError(problem, hint="write it like owner/name")
    return repository


def push_files(repository: str, files: Mapping[str, Path], *, message: str, is_private: bool) -> str:
    """Write files to a repository in one commit, creating it if it is missing; return its address.

    Args:
        repository: ``owner/name``.
        files: local files by their names in the repository.
        message: of the commit.
        is_private: create a repository that only its owner sees; one that exists is left as it is.

    Raises:
        DataError: no account is known, or the hub refuses the metadata of the card; or see `hub_errors`.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if not get_token():
        raise DataError("the Hugging Face hub needs an account to push to", hint=LOGIN)
    try:
        with hub_errors(repository):
            api = HfApi(library_name="vopcli")
            address = api.create_repo(repository, private=is_private or None, exist_ok=True)
            changes = [CommitOperationAdd(name, path) for name, path in files.items()]
            api.create_commit(repository, changes, commit_message=message)
    except ValueError as error:  # the card may have been edited
        problem = " ".join(str(error).split())
        raise DataError(f"{repository} refuses the card: {problem}", hint="edit the card again") from error
    return str(address)
