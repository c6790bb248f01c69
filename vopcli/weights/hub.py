"""Files of the Hugging Face hub: download into its own cache, with the user's token and mirror; its errors.

`huggingface_hub` reads ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``, resumes a partial
file, and lets one process at a time download it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from vopcli.errors import WeightsError
from vopcli.files.atomic import hash_file
from vopcli.progress import Progress, Task

if TYPE_CHECKING:
    from vopcli.weights.catalog import CatalogEntry

LOGIN: Final = "log in with `hf auth login`, or set HF_TOKEN"
_USUAL_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # in order of preference


def cached_file(entry: CatalogEntry) -> Path | None:
    """Return the file of weights in the hub's cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    for name in _USUAL_FILES:
        found = try_to_load_from_cache(entry.repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch_from_hub(entry: CatalogEntry, progress: Progress, *, download: bool = True) -> Path:
    """Return the file of weights in the hub's cache, downloading it if it is missing.

    Args:
        entry: the weights.
        progress: counts the bytes, and receives a note on a licence that restricts their use.
        download: False to fail instead of downloading.

    Raises:
        WeightsError: the download failed.
    """
    found = cached_file(entry)
    if found is not None:
        return found
    if not download:
        raise WeightsError(
            f"{entry.name} is not in the cache of the Hugging Face hub",
            hint=f"run `vop weights get {entry.name}`",
        )
    if entry.notice:
        progress.warn(f"{entry.name} has the licence {entry.licence}: {entry.notice}")
    path = download_file(entry.repository, _USUAL_FILES, progress)
    _check(entry, path)
    return path


def download_file(repository: str, names: Sequence[str], progress: Progress) -> Path:
    """Return the first of ``names`` that a repository has, from the hub's cache or downloaded if it changed.

    A hub that does not answer within 10 seconds (``HF_HUB_ETAG_TIMEOUT``) cannot be reached: a file in the
    cache is then used.

    Args:
        repository: ``owner/name``.
        names: of the files in it, in order of preference.
        progress: tells that the hub is asked, and counts the bytes.

    Raises:
        WeightsError: the repository has none of the files; or see `hub_errors`.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    progress.note(f"asking the Hugging Face hub for {repository}")
    with hub_errors(repository):
        for name in names:
            cached = try_to_load_from_cache(repository, name)
            failures = (OSError, _http_error()) if isinstance(cached, str) else ()
            try:  # once: the download repeats a request without an answer for minutes
                get_hf_file_metadata(hf_hub_url(repository, name))
            except RemoteEntryNotFoundError:
                continue
            except failures:
                return Path(str(cached))
            return Path(hf_hub_download(repository, name, tqdm_class=_bar_class(progress, repository)))
    raise WeightsError(
        f"{repository} on the Hugging Face hub has no {' or '.join(names)}", hint="name another one"
    )


@contextlib.contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Report an error of the hub while a repository is read or written.

    Raises:
        WeightsError: in place of the library's error.
    """
    from huggingface_hub.errors import LocalTokenNotFoundError
    from huggingface_hub.utils import logging

    # a failed request is repeated, each time with two lines
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise WeightsError(f"{repository} on the Hugging Face hub needs an account", hint=LOGIN) from error
    except (OSError, RuntimeError, _http_error()) as error:  # RuntimeError: of the library for large files
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403, 404}:
            problem = f"{repository} is not on the Hugging Face hub, or not open to you"
            raise WeightsError(problem, hint=LOGIN) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"the Hugging Face hub cannot be used for {repository}: {reason}",
            hint="check the network, HF_HUB_OFFLINE and HF_ENDPOINT; the same command resumes a download",
        ) from error


def _http_error() -> type[Exception]:
    """Return the base class of the errors of the hub's HTTP library."""
    from huggingface_hub.errors import HfHubHTTPError

    return cast("type[Exception]", HfHubHTTPError.__bases__[0])


def _check(entry: CatalogEntry, path: Path) -> None:
    """Compare a file with the SHA-256 that the hub or the catalog has of it; remove it if it differs.

    The hub's cache names a large file by its SHA-256; without symbolic links the name is not known.

    Raises:
        WeightsError: the file is another one.
    """
    blob = path.resolve()
    stated = entry.sha256 or blob.name
    if re.fullmatch("[0-9a-f]{64}", stated) and hash_file(blob).hex() != stated:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise WeightsError(
            f"{entry.repository} sent a file other than {entry.name}: its SHA-256 is wrong",
            hint="run the command again, or try another mirror (HF_ENDPOINT)",
        )


def _bar_class(progress: Progress, title: str) -> Any:
    """Return a class of bars like tqdm's: the first counts bytes for ``progress``, others nothing."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    tasks: list[Task] = []

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object) -> None:
            super().__init__(total=total, initial=initial, disable=True)
            self._task = None if tasks else progress.task(title, total=total, unit="B").__enter__()
            if self._task:
                tasks.append(self._task)
                self._task.advance(initial)

        def update(self, n: float | None = 1) -> None:
            if self._task:
                self._task.advance(int(n or 0))

        def close(self) -> None:
            if self._task:
                self._task.__exit__(None, None, None)
                self._task = None

    return Bar
