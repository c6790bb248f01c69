"""Run work in batches; halve the batch size when the device is out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from vopcli.errors import VopError
from vopcli.progress import Progress

_SIGNS: Final = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
_HINTS: Final = ("use --device cpu", "close other programs")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means out of memory; torch has no error type for the memory of the host."""
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
    """Call ``work`` for one batch after the other; halve the batch size when out of memory.

    Args:
        work: processes a slice of the ``total`` items; called again with a smaller slice if out of memory.
        total: number of items.
        batch_size: items of a batch.
        device: device that ``work`` runs on.
        progress: receives a warning when the batch size is halved.
        unit: name of an item in messages, such as "frame".
        at_least: items that belong together; batch sizes are multiples of it.

    Returns:
        The largest batch size that fits into memory.

    Raises:
        VopError: even the smallest batch runs out of memory.
        RuntimeError: ``work`` failed for another reason.
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
            size = batch.stop - batch.start
            if size <= at_least:
                count = f"a single {unit}" if size == 1 else f"{size} {unit}s"
                hint = _HINTS[device.type == "cpu"]
                raise VopError(f"{device} does not have enough memory for {count}", hint=hint) from error
            batch_size = max((size + 1) // 2 // at_least, 1) * at_least
        else:
            done = batch.stop
            continue
        # outside the handler, because the error keeps the tensors of the failed batch alive
        if device.type == "cuda":
            torch.cuda.empty_cache()
        progress.warn(f"out of memory: continuing with batches of {batch_size} {unit}s")
    return batch_size
