"""File format of ``vop eval --save-sims``: all scores of a test, and the scores that QB-Norm is fitted on.

Axes: Q captions, G videos of the test; V captions, W videos of the validation; B captions of the bank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from vopcli.errors import DataError
from vopcli.files.arrays import checksum
from vopcli.files.atomic import atomic_path
from vopcli.files.hdf5 import FileFormat, SegmentFile
from vopcli.files.hdf5_writer import SegmentWriter, create_segment_file
from vopcli.search.similarity import Ints, Rows, iter_blocks

MATRICES: Final = ("similarity", "bank", "val_similarity", "val_bank")
SCORE_FORMAT: Final = FileFormat(
    "vop-similarities",
    3,
    {
        "document": np.dtype("u1"),  # JSON in UTF-8, of any length
        "owner": np.dtype("<i8"),  # (Q,) the video of each caption
        "val_owner": np.dtype("<i8"),  # (V,)
        "similarity": np.dtype("<f4"),  # (Q, G)
        "bank": np.dtype("<f4"),  # (B, G), training captions with the test videos
        "val_similarity": np.dtype("<f4"),  # (V, W)
        "val_bank": np.dtype("<f4"),  # (B, W), the same training captions with the validation videos
        "checksums": np.dtype("<u8"),  # (7,) of the columns before this one
    },
    "vop eval --save-sims SIMS.h5",
)
_SUMMED: Final = tuple(SCORE_FORMAT.columns)[:-1]
_HINT: Final = "write it again with `vop eval --save-sims`"


@dataclass(frozen=True, eq=False)
class Similarities:
    """Contents of a score file; without a bank the last four arrays are empty.

    Attributes:
        document: JSON of the result of ``vop eval``, and ``logit_scale``.
        similarity: (Q, G) scores of the test split.
        owner: (Q,) the index of the video of each caption.
        bank: (B, G) scores of training captions with the test videos.
        val_similarity: (V, W) scores of the validation split.
        val_owner: (V,) the index of the video of each caption.
        val_bank: (B, W) scores of the same training captions with the validation videos.
    """

    document: Mapping[str, Any]
    similarity: Rows
    owner: Ints
    bank: Rows
    val_similarity: Rows
    val_owner: Ints
    val_bank: Rows

    @property
    def has_bank(self) -> bool:
        """Whether the file holds a bank for QB-Norm."""
        return self.bank.shape[0] > 0


def write_similarities(path: Path, content: Similarities, *, is_new: bool) -> None:
    """Write a score file atomically, the matrices in blocks of rows.

    Args:
        path: the file.
        content: its matrices may be computed lazily.
        is_new: refuse to replace a file.

    Raises:
        FileError: `path` exists, or the disk is full or failed; no partial file is left.
    """
    text = json.dumps(dict(content.document), allow_nan=False).encode("ascii")
    filled: dict[str, NDArray[Any]] = {
        "document": np.frombuffer(text, np.uint8),
        "owner": content.owner,
        "val_owner": content.val_owner,
    }
    empty: dict[str, tuple[int, ...]] = {name: getattr(content, name).shape for name in MATRICES}
    sums = {name: checksum(array) for name, array in filled.items()}
    with atomic_path(path, is_new=is_new) as temporary:
        temporary.unlink()
        create_segment_file(temporary, SCORE_FORMAT, {})
        with SegmentWriter(temporary, SCORE_FORMAT) as writer:
            segment = writer.add_segment({}, filled, {**empty, "checksums": (len(_SUMMED),)})
            for name in MATRICES:
                matrix, digest = getattr(content, name), xxhash.xxh3_64()
                for rows in iter_blocks(matrix.shape, None) if 0 not in matrix.shape else ():
                    block = np.ascontiguousarray(matrix[rows], np.float32)
                    writer.write(segment, name, rows.start, block)
                    digest.update(block.data)
                sums[name] = digest.intdigest()
            writer.write(segment, "checksums", 0, np.array([sums[name] for name in _SUMMED], "u8"))


def read_similarities(path: Path) -> Similarities:
    """Open a score file and compare it with its checksums; the matrices are memory-mapped.

    Raises:
        DataError: `path` is missing, damaged, of another version or of another kind.
        BusyError: another process keeps changing `path`.
    """
    columns, document = _open(path)
    found = Similarities(
        document,
        columns["similarity"],
        np.array(columns["owner"]),
        columns["bank"],
        columns["val_similarity"],
        np.array(columns["val_owner"]),
        columns["val_bank"],
    )
    if problem := _find_problem(found):
        raise DataError(f"{path} is damaged: {problem}", hint=_HINT)
    return found


def describe_scores(path: Path) -> dict[str, Any]:
    """Describe a score file, as JSON values.

    Raises:
        DataError: `path` cannot be read.
    """
    found = read_similarities(path)
    named = ("target", "variant", "weights", "dataset", "split", "queries", "pooling", "logit_scale")
    return {
        "kind": SCORE_FORMAT.name,
        "version": SCORE_FORMAT.version,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        **{name: found.document.get(name) for name in named},
        "captions": found.similarity.shape[0],
        "videos": found.similarity.shape[1],
        "bank_captions": found.bank.shape[0],
        "val_captions": found.val_similarity.shape[0],
        "val_videos": found.val_similarity.shape[1],
    }


def _open(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    file = SegmentFile.read(path, SCORE_FORMAT)
    if len(file.segments) != 1:
        raise DataError(f"{path} is damaged: it has {len(file.segments)} segments", hint=_HINT)
    columns = {name: file.segments[0].map(name) for name in SCORE_FORMAT.columns}
    expected = columns["checksums"].tolist()
    if len(expected) != len(_SUMMED):
        raise DataError(f"{path} is damaged: checksums are missing", hint=_HINT)
    for name, value in zip(_SUMMED, expected, strict=True):
        if checksum(columns[name]) != value:
            raise DataError(f"{path} is damaged: {name} does not match its checksum", hint=_HINT)
    try:
        document = json.loads(columns["document"].tobytes())
        if not isinstance(document, dict):
            raise TypeError("its document is not a JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}", hint=_HINT) from error
    return columns, document


def _find_problem(found: Similarities) -> str:
    """Return the first contradiction between the fields; "" if there is none."""
    scale = found.document.get("logit_scale")
    if not isinstance(scale, float) or not 0 < scale < np.inf:
        return "the logit scale is missing or not positive"
    if any(len(getattr(found, name).shape) != 2 for name in MATRICES):
        return "a matrix does not have two axes"
    pairs = [("similarity", found.similarity, found.owner)]
    if found.has_bank:
        if not isinstance(found.document.get("val"), str):
            return "the origin of its validation split is missing"
        pairs.append(("val_similarity", found.val_similarity, found.val_owner))
        shapes = found.bank.shape[1:], found.val_bank.shape
        if shapes != (found.similarity.shape[1:], (found.bank.shape[0], found.val_similarity.shape[1])):
            return "the shape of the bank does not fit the videos"
    for name, matrix, owner in pairs:
        if 0 in matrix.shape or owner.shape != matrix.shape[:1]:
            return f"{name} {matrix.shape} does not fit its number of captions"
        if owner.min() < 0 or owner.max() >= matrix.shape[1]:
            return f"a caption of {name} belongs to no video"
    return ""
