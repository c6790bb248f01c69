"""Processes that train one model together, started by torchrun; each one holds a part of every batch.

Every process computes the loss of the whole batch from the embeddings of all parts, and the gradient of its
own embeddings. The sum of the parameters' gradients over the processes is then the gradient of a single
process with the whole batch, up to the order of additions. Only the first process writes files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from vopcli.errors import DataError, UsageError

T = TypeVar("T")
_BUCKET: Final = 1 << 23  # numbers that are summed at a time: 32 MiB of float32
_LOG: Final = logging.getLogger(__name__)
_TIMEOUT: Final = timedelta(minutes=30)  # of a process that waits for the others, such as for a validation


class LostProcessError(DataError):
    """Another process of the run ended."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this run ended",
            hint="its own message says why; run the same command with --resume to continue",
        )


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that train together.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def part_size(self, count: int) -> int:
        """Return the number of rows of the longest part of ``count`` rows."""
        return -(-count // self.size)

    def part(self, count: int) -> slice:
        """Return the rows of this process among ``count`` rows, at least one.

        Parts have ceil(count / size) rows. A last one may be shorter; where no row is left, the last row is
        repeated, and `own_gradient` is zero for it. Example: 9 rows in 4 processes are 0-2, 3-5, 6-8 and 8.
        """
        step = self.part_size(count)
        start = min(self.rank * step, count - 1)
        return slice(start, max(start + 1, min((self.rank + 1) * step, count)))

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Return the rows (count, E) of all processes, without a graph.

        Args:
            rows: those of `part` (N, E).
            count: number of rows of all processes.

        Raises:
            LostProcessError: another process ended.
        """
        if self.size == 1:
            return rows.detach()
        padded = rows.new_zeros(self.part_size(count), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        _call(torch.distributed.all_gather, parts, padded)
        return torch.cat(parts)[:count]

    def own_gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the rows of `part` from that of all rows (count, E)."""
        if self.size == 1:
            return gradient
        count, start = len(gradient), self.rank * self.part_size(len(gradient))
        part = self.part(count)
        return gradient[part] if start < count else torch.zeros_like(gradient[part])

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes.

        Raises:
            LostProcessError: another process ended.
        """
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        gradients = [item.grad for item in parameters if item.grad is not None]
        for number, gradient in enumerate(gradients, 1):
            bucket.append(gradient)
            if number == len(gradients) or sum(one.numel() for one in bucket) >= _BUCKET:
                flat = torch.cat([one.reshape(-1) for one in bucket])
                _call(torch.distributed.all_reduce, flat)
                for one, total in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                    one.copy_(total.view_as(one))
                bucket = []

    def share(self, value: T) -> T:
        """Return the value of the first process; those of the others do not count.

        Raises:
            LostProcessError: another process ended.
        """
        if self.size == 1:
            return value
        values: list[Any] = [value]
        _call(torch.distributed.broadcast_object_list, values)
        shared: T = values[0]
        return shared

    @contextlib.contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process run a block before the others, such as one that downloads a file."""
        if not self.is_first:
            self.share(None)
        yield
        if self.is_first:
            self.share(None)


ALONE: Final = Processes()


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes if torchrun started this one; else train alone.

    Ctrl-C reaches all processes: the first one decides, and tells the others at their next step.

    Raises:
        UsageError: this machine has fewer GPUs than processes.
        LostProcessError: the processes do not find each other.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    from torch.distributed import distributed_c10d
    from torch.distributed.rendezvous import rendezvous

    has_gpu = torch.cuda.is_available()
    if has_gpu:
        place, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= count:
            raise UsageError(
                f"this machine has {count} GPUs and at least {place + 1} processes",
                hint=f"start it with torchrun --nproc-per-node {count}",
            )
        torch.cuda.set_device(place)
    store, rank, size = next(rendezvous("env://"))
    # processes of an earlier start may have left keys in the store of torchrun
    prefix = f"vop-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    _call(
        torch.distributed.init_process_group,
        "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
        store=distributed_c10d.PrefixStore(prefix, store),
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
    )
    if rank:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield Processes(rank, size)
    finally:
        torch.distributed.destroy_process_group()


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call a function that waits for the other processes.

    Raises:
        LostProcessError: it failed, as it does when one of them has ended.
    """
    try:
        function(*arguments, **options)
    except RuntimeError as error:  # torch's errors of NCCL and of the network are RuntimeErrors too
        _LOG.debug("%s failed: %s", function.__name__, error)
        raise LostProcessError from error
