"""Batches are halved where memory gives out, and nothing is left out or done twice."""

import numpy as np
import pytest
import torch

from tests.support.progress import Warnings
from vopcli.errors import OutOfMemoryError, is_out_of_memory
from vopcli.methods.memory import encode_in_batches

CPU = torch.device("cpu")
OUT = np.empty((16, 1), np.float32)


class Scarce:
    """Encodes each item as its number, and so many items at most."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.done: list[int] = []

    def __call__(self, batch: slice) -> torch.Tensor:
        if batch.stop - batch.start > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.done += range(batch.start, batch.stop)
        return torch.arange(batch.start, batch.stop, dtype=torch.bfloat16)[:, None]


@pytest.mark.parametrize("total", [0, 1, 10, 23])
@pytest.mark.parametrize(("at_least", "most"), [(1, 1), (1, 3), (1, 100), (3, 3), (3, 7)])
def test_everything_is_done_once_and_in_order(total: int, at_least: int, most: int) -> None:
    work, said = Scarce(most), Warnings()
    out = np.full((total, 1), -1, np.float32)
    fits = encode_in_batches(
        work, out, batch_size=16, device=CPU, progress=said, unit="video", at_least=at_least
    )
    assert work.done == list(range(total))
    assert out[:, 0].tolist() == list(range(total))
    assert fits % at_least == 0
    assert bool(said.warnings) is (total > most)
    assert all(line.startswith("out of memory: continuing with batches of ") for line in said.warnings)
    if total > most:
        assert said.warnings[-1].endswith(f" {fits} videos")


@pytest.mark.parametrize(("at_least", "what"), [(1, "a single frame"), (4, "4 frames")])
def test_what_does_not_fit_at_all_is_an_error(at_least: int, what: str) -> None:
    with pytest.raises(OutOfMemoryError, match=f"cpu does not have enough memory for {what}") as caught:
        encode_in_batches(
            Scarce(0), OUT, batch_size=8, device=CPU, progress=Warnings(), unit="frame", at_least=at_least
        )
    assert caught.value.hint == "close other programs"


def test_another_error_is_let_through() -> None:
    def fail(batch: slice) -> torch.Tensor:
        raise RuntimeError(f"shapes differ in {batch}")

    with pytest.raises(RuntimeError, match="shapes differ"):
        encode_in_batches(fail, OUT, batch_size=2, device=CPU, progress=Warnings(), unit="frame")
    assert not is_out_of_memory(ValueError("out of memory"))
