"""``vop encode --querybank``: put captions into an index that tell which videos are near to every text.

Axes: B captions, E joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.schema import DEFAULT_BANK_BETA
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError, FileError, UsageError
from vopcli.index.reader import BANK, VideoIndex
from vopcli.index.writer import rewrite_index
from vopcli.progress import Progress
from vopcli.search.qb_norm import build_query_bank
from vopcli.search.query_bank import _NAMES, _TOP, Floats, _state, read_bank
from vopcli.search.search import Index
from vopcli.search.similarity import CosineRows

_AT_A_TIME: Final = 64


def check_beta(request: EncodeRequest, *, has_index: bool) -> None:
    """Refuse a beta that is out of range, or for which there is no bank.

    Raises:
        UsageError: it is one of these.
        DataError: the bank of the index is damaged.
    """
    if request.bank_beta is None:
        return
    if not 0 < request.bank_beta < np.inf:
        raise UsageError(
            f"a beta of {request.bank_beta:g} makes no sense", hint="give one above 0, such as 20"
        )
    if request.bank is None and not (has_index and read_bank(VideoIndex(request.index))):
        raise UsageError(
            f"--beta {request.bank_beta:g} is for a query bank, and there is none",
            hint="give its captions with --querybank",
        )


def read_captions(path: Path) -> list[str]:
    """Read a caption a line, empty ones left out.

    Raises:
        FileError: the file cannot be read.
        DataError: it is no UTF-8, or without a caption.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: {error}", hint="give a file with a caption a line"
        ) from error
    captions = [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise DataError(f"{path} holds no captions", hint="give a file with a caption a line")
    return captions


def bring_bank_up_to_date(request: EncodeRequest, captions: list[str], progress: Progress) -> None:
    """Store a new query bank, or compute the one there is anew where videos came or went, or beta changed.

    Raises:
        DataError: the index or its bank is damaged.
        FileError: the disk is full; the index is as it was.
    """
    if captions:
        embedded, beta = _embed(request, captions, progress), request.bank_beta or DEFAULT_BANK_BETA
    else:
        stored = read_bank(VideoIndex(request.index))
        if stored is None:
            return
        embedded, beta = np.array(stored.captions), request.bank_beta or stored.bank.beta
        if not stored.is_stale and np.float32(beta) == stored.bank.beta:
            return
    store_bank(request.index, embedded, beta)
    progress.note(f"computed the query bank: {len(embedded)} captions, beta {beta:g}")


def _embed(request: EncodeRequest, captions: list[str], progress: Progress) -> NDArray[np.float32]:
    """Embed captions (B, E) with the index's own text tower, L2-normalised."""
    index = Index(request.index, weights=request.weights, cache=request.cache, progress=progress)
    parts = []
    with progress.task("query bank", total=len(captions), unit="captions") as task:
        for begin in range(0, len(captions), _AT_A_TIME):
            parts.append(index.encode(captions[begin : begin + _AT_A_TIME]))
            task.advance(len(parts[-1]))
    return np.concatenate(parts)


def store_bank(path: Path, captions: Floats, beta: float) -> None:
    """Compute a query bank for the videos of an index, and write the index anew with it, as one segment.

    Args:
        path: the index.
        captions: (B, E) float32, L2-normalised.
        beta: inverse temperature, above 0.

    Raises:
        DataError: an embedding is not finite, or not normalised.
        FileError: the disk is full; the index is as it was.
        BusyError: another process reads or writes it.
    """
    index = VideoIndex(path)
    rows = list(index.rows())
    column, activated = np.zeros((2, len(rows)), np.float32)
    if rows:
        live = [part[done] for part, done in zip(index.embeddings, index.done, strict=True)]
        try:
            bank = build_query_bank(CosineRows(captions, np.concatenate(live)), beta=beta, top=_TOP)
        except ValueError as error:
            raise DataError(
                f"{path} is damaged: {error}", hint="`vop info FILE --verify` says more"
            ) from error
        column, activated = bank.column, bank.is_activated.astype(np.float32)
    settings = np.array([beta, _TOP, *_state(index, only_live=True)], np.float32)
    parts: Sequence[Floats] = (captions, column, activated, settings)
    tensors = {f"{BANK}{name}": part for name, part in zip(_NAMES, parts, strict=True)}
    rewrite_index(path, rows, tensors)
