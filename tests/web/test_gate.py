"""How many calls run at a time, and when further ones are turned away."""

import threading

import anyio
import pytest

from vopcli.web.gate import CrowdedError, Gate


def test_some_run_some_wait_and_others_are_turned_away() -> None:
    release, lock = threading.Event(), threading.Lock()
    running, most, refused, results = 0, 0, 0, []

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait(5)
        with lock:
            running -= 1
        return number

    async def call(gate: Gate, number: int) -> None:
        nonlocal refused
        try:
            results.append(await gate.run(work, number))
        except CrowdedError:
            refused += 1

    async def main() -> None:
        gate = Gate(running=2, waiting=3)
        async with anyio.create_task_group() as group:
            for number in range(9):
                group.start_soon(call, gate, number)
            while refused < 4 or running < 2:
                await anyio.sleep(0.01)
            release.set()
        assert await gate.run(work, 9) == 9

    anyio.run(main)
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert (most, refused) == (2, 4)


def test_an_error_frees_the_place() -> None:
    async def main() -> None:
        gate = Gate(running=1, waiting=0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await gate.run(divmod, 1, 0)

    anyio.run(main)
