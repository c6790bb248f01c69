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
from vopcli.progress import Progress
from vopcli.search.engine import Floats
from vopcli.search.qb_norm import build_query_bank
from vopcli.search.query_bank import BANK_PARTS, BANK_TOP, read_bank, state_of
from vopcli.search.similarity import CosineRows
from vopcli.search.text_tower import TextEncoder

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


def updated_bank(
    request: EncodeRequest,
    index: VideoIndex,
    rows: Sequence[int],
    captions: Sequence[str],
    progress: Progress,
) -> dict[str, Floats]:
    """Compute the query bank for the rows that an index is to keep.

    Args:
        request: weights, cache and beta.
        index: the index, its new videos included.
        rows: the rows to keep.
        captions: of a new bank; empty to update the stored one, if there is one.
        progress: gets a note where a bank was computed.

    Returns:
        The tensors to store; empty if the stored bank is up to date, or if there is none.

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
        is_stale = stored.is_stale or len(rows) < len(index)
        if not is_stale and np.float32(beta) == stored.bank.beta:
            return {}
    tensors = bank_tensors(index, rows, embedded, beta)
    progress.note(f"computed the query bank: {len(embedded)} captions, beta {beta:g}")
    return tensors


def _embed(
    request: EncodeRequest, index: VideoIndex, captions: Sequence[str], progress: Progress
) -> NDArray[np.float32]:
    """Embed captions (B, E) with the index's own text tower, L2-normalised."""
    weights = request.config.backbone.weights
    encoder = TextEncoder(index, weights=weights, cache=request.cache, progress=progress)
    parts = []
    with progress.task("query bank", total=len(captions), unit="captions") as task:
        for begin in range(0, len(captions), _BATCH):
            parts.append(encoder.encode(captions[begin : begin + _BATCH]))
            task.advance(len(parts[-1]))
    return np.concatenate(parts)


def bank_tensors(index: VideoIndex, rows: Sequence[int], captions: Floats, beta: float) -> dict[str, Floats]:
    """Compute a query bank, and return it as the tensors that an index of these rows alone stores.

    Args:
        index: where the embeddings are.
        rows: finished rows of it, rising.
        captions: (B, E) float32, L2-normalised.
        beta: inverse temperature, above 0.

    Raises:
        DataError: an embedding is not finite, or not normalised.
    """
    column, activated = np.zeros((2, len(rows)), np.float32)
    if rows:
        videos = np.stack([index.embedding_of(row) for row in rows])
        try:
            bank = build_query_bank(CosineRows(captions, videos), beta=beta, top=BANK_TOP)
        except ValueError as error:
            raise DataError(
                f"{index.path} is damaged: {error}", hint="`vop info FILE --verify` says more"
            ) from error
        column, activated = bank.column, bank.is_activated.astype(np.float32)
    settings = np.array(
        [beta, BANK_TOP, *state_of([index.record_of(row)["crc32"] for row in rows])], np.float32
    )
    parts: Sequence[Floats] = (captions, column, activated, settings)
    return {f"{BANK}{name}": part for name, part in zip(BANK_PARTS, parts, strict=True)}
