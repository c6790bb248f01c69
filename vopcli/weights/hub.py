"""Download weights from the Hugging Face hub into its own cache, with the user's token and mirror.

`huggingface_hub` reads ``HF_HOME``, ``HF_TOKEN``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``, resumes a partial
file, and lets one process at a time download it.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from vopcli.errors import WeightsError
from vopcli.files.atomic import hash_file
from vopcli.progress import Progress, Task

if TYPE_CHECKING:
    from vopcli.weights.catalog import CatalogEntry

_USUAL_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # in order of preference


def cached_file(entry: CatalogEntry) -> Path | None:
    """Return the file of weights in the hub's cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    for name in _file_names(entry):
        found = try_to_load_from_cache(entry.repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch_from_hub(entry: CatalogEntry, progress: Progress, *, download: bool = True) -> Path:
    """Return the file of weights in the hub's cache, downloading it if it is missing.

    Args:
        entry: the weights.
        progress: counts the bytes, and gets a note on a licence that restricts their use.
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
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

    broken = cast("type[Exception]", HfHubHTTPError.__bases__[0])  # of its HTTP library, while it receives
    if entry.notice:
        progress.warn(f"{entry.name} has the licence {entry.licence}: {entry.notice}")
    try:
        path = _download(entry, progress)
    except RepositoryNotFoundError as error:  # or it is gated
        raise WeightsError(
            f"{entry.repository} is not on the Hugging Face hub, or needs an account",
            hint="log in with `hf auth login`, or set HF_TOKEN",
        ) from error
    except (OSError, EntryNotFoundError, broken) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{entry.name} cannot be downloaded from {entry.repository}: {reason}",
            hint="run the command again, which resumes the download; HF_ENDPOINT names a mirror",
        ) from error
    _check(entry, path)
    return path


def _file_names(entry: CatalogEntry) -> tuple[str, ...]:
    return (entry.file,) if entry.file else _USUAL_FILES


def _download(entry: CatalogEntry, progress: Progress) -> Path:
    """Download the first of the usual files that the repository has.

    Raises:
        EntryNotFoundError: it has none of them.
        RepositoryNotFoundError: the repository is missing, or needs an account.
        OSError: the hub cannot be reached, or the cache cannot be written.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    *others, last = _file_names(entry)
    bar = _bar_class(progress, entry.name)
    for name in others:
        with contextlib.suppress(RemoteEntryNotFoundError):
            return Path(hf_hub_download(entry.repository, name, tqdm_class=bar))
    return Path(hf_hub_download(entry.repository, last, tqdm_class=bar))


def _check(entry: CatalogEntry, path: Path) -> None:
    """Compare a file with the SHA-256 that the hub, or the catalogue, has of it; remove another one.

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
            f"{entry.repository} sent another file than {entry.name}: its SHA-256 is wrong",
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
