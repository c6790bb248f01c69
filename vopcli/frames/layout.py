"""Space of a frame store: used and free frame slots of its segments, and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from vopcli.errors import DataError
from vopcli.files.hdf5 import Segment
from vopcli.frames.recipe import Recipe
from vopcli.frames.rows import FRAME_FORMAT, Row, Status

JPEG_PIXEL_BYTES: Final = 0.4  # at quality 95; a first guess, until frames have been written


def row_fits(row: Row, segments: Sequence[Segment], recipe: Recipe) -> bool:
    """Whether the frames of a row are within the file."""
    if row.status is not Status.DONE:
        return True
    if not 0 <= row.frames_segment < len(segments) or row.first_frame < 0 or row.num_frames < 1:
        return False
    end = row.first_frame + row.num_frames
    return row.num_frames % recipe.candidates == 0 and end <= frame_slots(
        segments[row.frames_segment], recipe
    )


def frame_slots(segment: Segment, recipe: Recipe) -> int:
    """Return the number of frame slots of a segment."""
    return segment.columns["frames" if recipe.codec == "raw" else "frame_ranges"].shape[0]


def used_frames(rows: Iterable[Row | None], segments: Sequence[Segment], recipe: Recipe) -> list[int]:
    """Return for each segment the number of slots up to the last one that a row of any segment uses."""
    used = [0] * len(segments)
    for row in rows:
        if row and row.status is Status.DONE and row_fits(row, segments, recipe):
            used[row.frames_segment] = max(used[row.frames_segment], row.first_frame + row.num_frames)
    return used


def missing_frames(num_free: Sequence[int], num_frames: Sequence[int]) -> int:
    """Return the number of frame slots that a new segment needs.

    Args:
        num_free: free slots of each existing segment.
        num_frames: frames of each new video, which must be contiguous.
    """
    free, missing = list(num_free), 0
    for count in num_frames:
        place = next((i for i, slots in enumerate(free) if slots >= count), None)
        if place is None:
            missing += count
        else:
            free[place] -= count
    return missing


def frames_bytes(num_frames: int, recipe: Recipe) -> int:
    """Return the size of ``num_frames`` frames in bytes; an estimate for JPEG files."""
    pixel_bytes = 3.0 if recipe.codec == "raw" else JPEG_PIXEL_BYTES
    return int(num_frames * (recipe.size**2 * pixel_bytes + 16))


def check_shapes(path: Path, segments: Sequence[Segment], recipe: Recipe) -> None:
    """Check that the columns of each segment have consistent shapes.

    Raises:
        DataError: the columns of a segment are inconsistent.
    """
    for segment in segments:
        shapes = {name: column.shape for name, column in segment.columns.items()}
        expected = {
            "status": (shapes["rows"][:1]),
            "rows": (shapes["rows"][:1]),
            "paths": (shapes["paths"][:1]),
            "seconds": (frame_slots(segment, recipe),),
            "checksums": (frame_slots(segment, recipe),),
            "frames": (*shapes["frames"][:1], recipe.size, recipe.size, 3),
            "frame_bytes": (shapes["frame_bytes"][:1]),
            "frame_ranges": (*shapes["frame_ranges"][:1], 2),
        }
        if shapes != expected:
            raise DataError(
                f"{path} is damaged: segment {segment.number} has inconsistent columns",
                hint=FRAME_FORMAT.hint,
            )
