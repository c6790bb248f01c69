"""Work in batches, and in smaller ones where memory gives out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from vopcli.errors import VopError
from vopcli.progress import Progress

_SIGNS: Final = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
_HINTS: Final = ("use --device cpu", "close other programs")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left; torch has no error of its own for the latter."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def run_in_batches(
    work: Callable[[slice], None],
    total: int,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
    unit: str,
    at_least: int = 1,
) -> int:
    """Call ``work`` for one batch after the other; where memory gives out, halve what a batch holds.

    Args:
        work: what to do with a slice of the ``total`` items; done again, smaller, where it fails.
        total: how many items there are.
        batch_size: items of a batch.
        device: whose memory it is.
        progress: told where a batch was halved.
        unit: what an item is called, such as "frame".
        at_least: items that belong together; a batch holds a multiple of them.

    Returns:
        The items of a batch that fit.

    Raises:
        VopError: there is not enough memory even for the smallest batch.
        RuntimeError: ``work`` failed in another way.
        MemoryError: never; it is turned into a VopError.
    """
    done = 0
    batch_size = max(batch_size // at_least, 1) * at_least
    while done < total:
        batch = slice(done, min(total, done + batch_size))
        try:
            work(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            num_held = batch.stop - batch.start
            if num_held <= at_least:
                count = f"a single {unit}" if num_held == 1 else f"{num_held} {unit}s"
                hint = _HINTS[device.type == "cpu"]
                raise VopError(f"{device} has not enough memory for {count}", hint=hint) from error
            batch_size = max((num_held + 1) // 2 // at_least, 1) * at_least
        else:
            done = batch.stop
            continue
        # outside the handler, where the error would still hold the memory of the failed batch
        if device.type == "cuda":
            torch.cuda.empty_cache()
        progress.warn(f"memory ran out: going on with batches of {batch_size} {unit}s")
    return batch_size
