"""Run work in batches; halve the batch size when the device is out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vopcli.errors import OutOfMemoryError, is_out_of_memory
from vopcli.progress import Progress

_HINTS: Final = ("use --device cpu", "close other programs")


def encode_in_batches(
    encode: Callable[[slice], Tensor],
    out: NDArray[np.float32],
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
    unit: str,
    at_least: int = 1,
) -> int:
    """Run a model batch by batch without gradients; halve the batch size when out of memory.

    Args:
        encode: returns the embeddings (n, E) of a slice of the items; called again with a smaller slice if
            out of memory.
        out: (N, E), receives the embeddings of all items.
        batch_size: items of a batch.
        device: device of the model.
        progress: receives a warning when the batch size is halved.
        unit: name of an item in messages, such as "frame".
        at_least: items that belong together; batch sizes are multiples of it.

    Returns:
        The largest batch size that fits into memory.

    Raises:
        OutOfMemoryError: even the smallest batch runs out of memory.
        RuntimeError: ``encode`` failed for another reason.
        MemoryError: never; it is turned into an OutOfMemoryError.
    """
    done, total = 0, len(out)
    batch_size = max(batch_size // at_least, 1) * at_least
    while done < total:
        batch = slice(done, min(total, done + batch_size))
        try:
            with torch.inference_mode():
                out[batch] = encode(batch).float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = batch.stop - batch.start
            if size <= at_least:
                count = f"a single {unit}" if size == 1 else f"{size} {unit}s"
                hint = _HINTS[device.type == "cpu"]
                raise OutOfMemoryError(
                    f"{device} does not have enough memory for {count}", hint=hint
                ) from error
            batch_size = max((size + 1) // 2 // at_least, 1) * at_least
        else:
            done = batch.stop
            continue
        # outside the handler, because the error keeps the tensors of the failed batch alive
        if device.type == "cuda":
            torch.cuda.empty_cache()
        progress.warn(f"out of memory: continuing with batches of {batch_size} {unit}s")
    return batch_size
