"""Deferred interrupts, and progress without output."""

from __future__ import annotations

import signal
import threading

import pytest

from vopcli.progress import SilentProgress, interrupts_deferred


def test_interrupt_waits_for_the_end_of_the_block() -> None:
    before, steps = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            steps.append("still running")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["still running"]
    assert signal.getsignal(signal.SIGINT) is before


def test_error_in_the_block_restores_the_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="failed"), interrupts_deferred():
        raise ValueError("failed")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_may_use_it() -> None:
    done = []

    def work() -> None:
        with interrupts_deferred():  # setting a handler outside the main thread would raise
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_silent_progress_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    progress = SilentProgress()
    with progress.task("videos", total=2, unit="videos") as task:
        task.advance()
        task.fail("a.mp4", "damaged")
    progress.note("a")
    progress.warn("b")
    assert capfd.readouterr() == ("", "")
