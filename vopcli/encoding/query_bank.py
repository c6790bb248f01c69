"""``vop encode --querybank``: store captions in an index that correct hubness, by QB-Norm.

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
from vopcli.files.arrays import checksum
from vopcli.index.reader import BANK, VideoIndex
from vopcli.progress import Progress
from vopcli.resources import cache_folder
from vopcli.search.engine import Floats
from vopcli.search.qb_norm import build_query_bank
from vopcli.search.query_bank import BANK_PARTS, BANK_TOP, read_bank, state_of
from vopcli.search.similarity import CosineRows
from vopcli.search.text_tower import ModelSource, TextEncoder

_BATCH: Final = 64


def check_beta(request: EncodeRequest, index: VideoIndex | None) -> None:
    """Check that an explicit beta has a query bank to apply to.

    Raises:
        UsageError: there is no query bank, given or in the index.
        DataError: the query bank of the index is damaged.
    """
    beta = request.config.encoding.beta
    if beta is not None and request.bank is None and not (index and read_bank(index)):
        raise UsageError(
            f"encoding.beta {beta:g} needs a query bank, and {request.index} has none",
            hint="give the captions of one with --querybank, or omit --beta",
        )


def read_bank_captions(path: Path) -> list[str]:
    """Read a file with one caption per line; empty lines are skipped.

    Raises:
        FileError: ``path`` cannot be read.
        DataError: ``path`` is not UTF-8, or has no captions.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: {error}", hint="give a file with one caption per line"
        ) from error
    captions = [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise DataError(f"{path} holds no captions", hint="give a file with one caption per line")
    return captions


def updated_bank(
    request: EncodeRequest,
    index: VideoIndex,
    rows: Sequence[int],
    captions: Sequence[str],
    progress: Progress,
) -> dict[str, Floats]:
    """Compute the query bank for the rows that an index keeps.

    Args:
        request: weights, cache and beta.
        index: the index, including new videos.
        rows: the rows to keep.
        captions: captions of a new bank; empty to update the stored one.
        progress: receives a note if a bank is computed.

    Returns:
        The tensors to store; empty if the index has no bank, or if it is up to date.

    Raises:
        DataError: the index or its bank is damaged.
    """
    beta = request.config.encoding.beta
    if captions:
        embedded, beta = _embed(request, index, captions, progress), beta or DEFAULT_BANK_BETA
    else:
        stored = read_bank(index)
        if stored is None:
            return {}
        embedded, beta = np.array(stored.captions), beta or stored.bank.beta
        is_stale = stored.is_stale or len(rows) < sum(np.count_nonzero(done) for done in index.done)
        if not is_stale and np.float32(beta) == stored.bank.beta:
            return {}
    tensors = bank_tensors(index, rows, embedded, beta)
    progress.note(f"computed the query bank: {len(embedded)} captions, beta {beta:g}")
    return tensors


def _embed(
    request: EncodeRequest, index: VideoIndex, captions: Sequence[str], progress: Progress
) -> NDArray[np.float32]:
    """Embed captions (B, E) with the text tower of the index, L2-normalised."""
    source = ModelSource(request.cache or cache_folder(), progress, request.config.backbone.weights)
    encoder = TextEncoder(index, source)
    parts = []
    with progress.task("query bank", total=len(captions), unit="captions") as task:
        for begin in range(0, len(captions), _BATCH):
            parts.append(encoder.encode(captions[begin : begin + _BATCH]))
            task.advance(len(parts[-1]))
    return np.concatenate(parts)


def bank_tensors(index: VideoIndex, rows: Sequence[int], captions: Floats, beta: float) -> dict[str, Floats]:
    """Compute a query bank; return the tensors that an index with only these rows stores.

    Args:
        index: the index that holds the embeddings.
        rows: rows of the index, increasing.
        captions: (B, E) float32, L2-normalised.
        beta: inverse temperature, above 0.

    Raises:
        DataError: an embedding is not finite, or not normalised.
    """
    column, activated = np.zeros((2, len(rows)), np.float32)
    videos = [index.embedding_of(row) for row in rows]
    if rows:
        try:
            bank = build_query_bank(CosineRows(captions, np.stack(videos)), beta=beta, top=BANK_TOP)
        except ValueError as error:
            raise DataError(
                f"{index.path} is damaged: {error}", hint="`vop info FILE --verify` lists the damage"
            ) from error
        column, activated = bank.column, bank.is_activated.astype(np.float32)
    settings = np.array([beta, BANK_TOP, *state_of([*map(checksum, videos)])], np.float32)
    parts: Sequence[Floats] = (captions, column, activated, settings)
    return {f"{BANK}{name}": part for name, part in zip(BANK_PARTS, parts, strict=True)}
