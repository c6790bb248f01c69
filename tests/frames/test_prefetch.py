"""An iterator on a thread of its own: the same items and errors, and a thread that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from vopcli.frames.prefetch import Prefetched


class Numbers:
    """A generator of numbers that notes what was made, and that it was closed."""

    def __init__(self, count: int, *, error: BaseException | None = None, seconds: float = 0.0) -> None:
        self.count, self.error, self.seconds = count, error, seconds
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.is_closed = False

    def run(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                time.sleep(self.seconds)
                self.made.append(number)
                self.threads.add(threading.get_ident())
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


def wait_until_full(numbers: Numbers) -> None:
    deadline = time.monotonic() + 5
    while len(numbers.made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)


def test_all_items_come_in_order_from_another_thread() -> None:
    numbers = Numbers(50)
    with Prefetched(numbers.run()) as items:
        assert list(items) == list(range(50))
    assert threading.get_ident() not in numbers.threads
    assert numbers.is_closed


def test_only_a_few_items_are_made_ahead() -> None:
    numbers = Numbers(50)
    with Prefetched(numbers.run()) as items:
        iterator = iter(items)
        wait_until_full(numbers)
        time.sleep(0.05)
        assert len(numbers.made) == 3  # two in the queue, one in the hand of the thread
        assert next(iterator) == 0


def test_leaving_early_closes_the_generator_and_ends_the_thread() -> None:
    numbers, before = Numbers(50), threading.active_count()
    with Prefetched(numbers.run()) as items:
        assert next(iter(items)) == 0
        wait_until_full(numbers)  # the thread waits for room
    assert threading.active_count() == before
    assert numbers.is_closed
    assert len(numbers.made) < 6


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt()])
def test_an_error_is_raised_after_the_items_before_it(error: BaseException) -> None:
    seen: list[int] = []
    with Prefetched(Numbers(2, error=error).run()) as items, pytest.raises(type(error)) as raised:
        seen.extend(items)
    assert raised.value is error
    assert seen == [0, 1]


def test_the_time_spent_waiting_is_counted() -> None:
    with Prefetched(Numbers(4, seconds=0.05).run()) as items:
        assert list(items) == [0, 1, 2, 3]
        assert 0.1 < items.waited_seconds < 5
    with Prefetched(Numbers(2).run()) as items:
        time.sleep(0.1)  # all is made meanwhile
        assert list(items) == [0, 1]
        assert items.waited_seconds < 0.05
