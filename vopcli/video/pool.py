"""Decode videos in worker processes; a crash or stall of the decoder fails only the current video."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import numpy as np

from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.errors import StorageError, UsageError, VideoError, VopError
from vopcli.files.atomic import hash_file
from vopcli.files.s3 import is_remote, local_copy, remove_dead_copies
from vopcli.video.collect import SampledFrames
from vopcli.video.sampling import Sampling
from vopcli.video.video import FrameSpec, count_sampled, encode_jpegs, read_windows
from vopcli.video.video_file import WHOLE, TimeWindow
from vopcli.video.watch import STALLED_EXIT_CODE, STALLED_SECONDS, Watch
from vopcli.video.windows import WindowRule

if TYPE_CHECKING:
    from vopcli.video.ray_pool import RayPool

# The memory of a worker is bounded by `data.max_pixels`, not by a limit of the process: RLIMIT_AS counts the
# address space of libraries and mapped files, and where it is hit, FFmpeg may fail in other ways than with
# an error. Measured peak for RGBA frames of 8192 x 8192 pixels: 0.75 GB, which is 11 bytes per pixel; each
# reference frame that a codec keeps adds 1.5 bytes per pixel.

# Jobs sent to a worker at once: the current one and the next.
_JOBS_AHEAD: Final = 2
_END_OF_JOB: Final = "end of job"

Result = TypeVar("Result")
Work: TypeAlias = Callable[["DecodeJob", Callable[[], None]], Iterator[Result]]
Workers: TypeAlias = "int | RayPool"


@dataclass(frozen=True)
class DecodeJob:
    """One video to decode.

    Attributes:
        key: a number chosen by the caller.
        path: the file; bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
        windows: parts of the video that frames are taken from; None: by the rule that `scan_videos` gets.
        is_hashed: return the hash of the file with the frames of the last window.
    """

    key: int
    path: str
    windows: tuple[TimeWindow, ...] | None = (WHOLE,)
    is_hashed: bool = False


def decode_videos(
    jobs: Iterable[DecodeJob], spec: FrameSpec, *, workers: Workers, jpeg_quality: int | None = None
) -> Iterator[tuple[DecodeJob, SampledFrames | VideoError]]:
    """Decode the sampled frames of many videos, in arbitrary order; yield each window when it is complete.

    Closing the iterator stops the workers at once; they also stop when this process dies.

    Args:
        jobs: consumed lazily, a few ahead of the results.
        spec: how frames are taken.
        workers: number of processes, with one decoding thread each; 0 decodes in this process; or Ray.
        jpeg_quality: return JPEG files of this quality (1 to 100) in ``jpegs``, and no ``frames``.

    Yields:
        Each job with the frames of each of its windows, and with an error if it failed before the last one.
    """
    return run_jobs(jobs, _Decode(spec, jpeg_quality), workers=workers)


def scan_videos(
    jobs: Iterable[DecodeJob],
    sampling: Sampling,
    rule: WindowRule,
    *,
    workers: Workers,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Iterator[tuple[DecodeJob, list[tuple[TimeWindow, int]] | VideoError]]:
    """Count the frames that a sampling selects in each window of many videos, in arbitrary order.

    Args:
        jobs: as in `decode_videos`.
        sampling: frames to select.
        rule: divides a video whose job names no windows.
        workers: number of processes; 0 scans in this process; or Ray.
        max_pixels: videos with larger frames fail.

    Yields:
        Each job with its windows and their numbers of frames, or with the error if it failed.
    """
    return run_jobs(jobs, _Count(sampling, rule, max_pixels), workers=workers)


@dataclass(frozen=True)
class _Decode:
    """The work of `decode_videos`."""

    spec: FrameSpec
    jpeg_quality: int | None

    def __call__(self, job: DecodeJob, tick: Callable[[], None]) -> Iterator[SampledFrames]:
        windows = job.windows or (WHOLE,)
        with local_copy(job.path, tick) as path:
            for decoded in read_windows(path, windows, self.spec, tick=tick):
                sampled = decoded if self.jpeg_quality is None else encode_jpegs(decoded, self.jpeg_quality)
                if job.is_hashed and sampled.window == windows[-1]:  # the file is in the page cache now
                    with contextlib.suppress(OSError):  # deleted meanwhile
                        sampled = replace(sampled, sha256=hash_file(path, tick))
                yield sampled


@dataclass(frozen=True)
class _Count:
    """The work of `scan_videos`."""

    sampling: Sampling
    rule: WindowRule
    max_pixels: int

    def __call__(self, job: DecodeJob, tick: Callable[[], None]) -> Iterator[list[tuple[TimeWindow, int]]]:
        yield count_sampled(
            job.path, self.sampling, job.windows or self.rule, max_pixels=self.max_pixels, tick=tick
        )


def run_jobs(
    jobs: Iterable[DecodeJob],
    work: Work[Result],
    *,
    workers: Workers,
    stalled_seconds: float = STALLED_SECONDS,
) -> Iterator[tuple[DecodeJob, Result | VideoError]]:
    """Run ``work`` on many videos, in arbitrary order; see `decode_videos`.

    Args:
        jobs: consumed lazily, a few ahead of the results.
        work: called with a job, and with a function to call regularly as a sign of progress; pickled and run
            in a worker process.
        workers: number of processes; 0 works in this process; or Ray.
        stalled_seconds: a job without a sign of progress for so long fails.

    Yields:
        Each job with each result of ``work``, and with the error if it failed.

    Raises:
        StorageError: S3 does not answer, or refuses.
        UsageError: a worker has no boto3.
    """
    if not isinstance(workers, int):
        results: Any = workers.run_jobs(jobs, work)
    elif workers > 0:
        results = _Pool(iter(jobs), work, workers, stalled_seconds).results()
    else:
        results = ((job, result) for job in jobs for result in _attempt(job, work, lambda: None))
    with contextlib.closing(results):
        for job, result in results:
            if isinstance(result, VopError) and not isinstance(result, VideoError):
                raise result
            yield job, result


def watched(job: DecodeJob, work: Work[Result], watch: Watch) -> Iterator[Result | VopError]:
    """Run ``work`` under a watch, which does not count the time that the consumer takes for a result."""
    watch.begin()
    for result in _attempt(job, work, watch.tick):
        watch.end()
        yield result
        watch.begin()
    watch.end()


def _attempt(job: DecodeJob, work: Work[Result], tick: Callable[[], None]) -> Iterator[Result | VopError]:
    """Run ``work``; convert an error to a VideoError that names the file, unless it concerns all files."""
    try:
        yield from work(job, tick)
    except (VideoError, StorageError, UsageError) as error:
        yield error
    except MemoryError:
        yield VideoError(
            f"{job.path}: not enough memory to decode it", hint="use fewer workers, or take fewer frames"
        )
    except Exception as error:  # noqa: BLE001  reported with the video
        yield VideoError(
            f"{job.path}: cannot be decoded ({type(error).__name__}: {error})", hint="is it damaged?"
        )


@dataclass
class _Worker:
    """A worker process and the jobs sent to it; the first one is the current job."""

    process: BaseProcess
    connection: Connection
    jobs: deque[DecodeJob] = field(default_factory=deque)


class _Pool(Generic[Result]):
    """Worker processes, and a thread that sends jobs and collects results."""

    def __init__(
        self, jobs: Iterator[DecodeJob], work: Work[Result], workers: int, stalled_seconds: float
    ) -> None:
        self.jobs = jobs
        self.stalled_seconds = stalled_seconds
        self.work = work
        self.num_workers = workers
        self.workers: list[_Worker] = []
        self.requeued: deque[DecodeJob] = deque()
        self.is_exhausted = False
        self.is_closed = threading.Event()
        self.done: queue.Queue[tuple[DecodeJob, Result | VideoError] | BaseException | None]
        self.done = queue.Queue(maxsize=workers + 1)

    def results(self) -> Iterator[tuple[DecodeJob, Result | VideoError]]:
        """Yield results until all jobs are done."""
        thread = threading.Thread(target=self._serve, name="decode pool", daemon=True)
        thread.start()
        try:
            while (item := self.done.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.is_closed.set()
            for worker in list(self.workers):
                worker.process.kill()
            thread.join()

    def _serve(self) -> None:
        """Send jobs and collect results until all jobs are done or the iterator is closed."""
        outcome: BaseException | None = None
        try:
            self._fill()
            while self.workers and not self.is_closed.is_set():
                ready = wait([worker.connection for worker in self.workers], timeout=1.0)
                for worker in [worker for worker in self.workers if worker.connection in ready]:
                    self._collect(worker)
                self._fill()
        except BaseException as error:  # noqa: BLE001  raised again by the consumer
            outcome = error
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()
                worker.connection.close()
            if any(is_remote(job.path) for worker in self.workers for job in worker.jobs):
                remove_dead_copies()
            self._put(outcome)

    def _put(self, item: tuple[DecodeJob, Result | VideoError] | BaseException | None) -> None:
        while not self.is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self.done.put(item, timeout=0.1)
                return

    def _fill(self) -> None:
        """Send jobs to all workers; start workers while there are jobs, and stop idle ones."""
        for ahead in range(1, _JOBS_AHEAD + 1):
            for worker in self.workers:
                while len(worker.jobs) < ahead and (job := self._next_job()) is not None:
                    self._send_job(worker, job)
        while len(self.workers) < self.num_workers and (job := self._next_job()) is not None:
            worker = _start_worker(self.work, self.stalled_seconds)
            self.workers.append(worker)
            self._send_job(worker, job)
        for worker in [worker for worker in self.workers if not worker.jobs]:
            self._stop_idle(worker)

    def _next_job(self) -> DecodeJob | None:
        if self.requeued:
            return self.requeued.popleft()
        job = None if self.is_exhausted or self.is_closed.is_set() else next(self.jobs, None)
        self.is_exhausted = self.is_exhausted or job is None
        return job

    def _send_job(self, worker: _Worker, job: DecodeJob) -> None:
        worker.jobs.append(job)
        with contextlib.suppress(OSError):  # a dead worker is noticed when its connection is read
            worker.connection.send(job)

    def _collect(self, worker: _Worker) -> None:
        try:
            result = _receive(worker.connection)
        except (EOFError, OSError):
            self._handle_crash(worker)
        else:
            if result == _END_OF_JOB:
                worker.jobs.popleft()
            else:
                self._put((worker.jobs[0], result))

    def _handle_crash(self, worker: _Worker) -> None:
        """Handle a crashed worker: fail its current job, requeue the rest."""
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        if worker.jobs:
            job = worker.jobs.popleft()
            self._put((job, _crash(job.path, worker.process.exitcode)))
            if is_remote(job.path):
                remove_dead_copies()
        self.requeued.extend(worker.jobs)

    def _stop_idle(self, worker: _Worker) -> None:
        """Let an idle worker exit."""
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join(timeout=5)
        worker.process.kill()


def _crash(path: str, exit_code: int | None) -> VideoError:
    if exit_code == STALLED_EXIT_CODE:
        return VideoError(
            f"{path}: the decoder stalled", hint="the file is damaged, or its disk does not answer"
        )
    how = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        how = signal.Signals(-exit_code).name
    hint = (
        "it may have run out of memory: use fewer workers"
        if exit_code == -signal.SIGKILL
        else "is it damaged?"
    )
    return VideoError(f"{path}: the decoder crashed ({how})", hint=hint)


def _start_worker(work: Work[object], stalled_seconds: float) -> _Worker:
    """Start a process that ignores Ctrl-C: its parent stops it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve_jobs, args=(theirs, work, stalled_seconds), name="vop decoder", daemon=True
    )
    resource_tracker.ensure_running()  # now, because starting the tracker unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return _Worker(process, ours)


def _serve_jobs(connection: Connection, work: Work[object], stalled_seconds: float) -> None:
    """Main function of a worker process: run jobs until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # messages of C libraries would break the progress bar
    parent = multiprocessing.parent_process()
    watch = Watch(stalled_seconds)
    watch.start(lambda seconds: parent is None or wait([parent.sentinel], timeout=seconds))
    while True:
        try:
            for result in watched(connection.recv(), work, watch):
                _send(connection, result)
            _send(connection, _END_OF_JOB)
        except (EOFError, OSError):
            return


def _send(connection: Connection, result: object) -> None:
    """Send a result; frames follow as raw bytes, so that they are copied only once."""
    if isinstance(result, SampledFrames):
        empty = np.empty((0, *result.frames.shape[1:]), np.uint8)
        connection.send((replace(result, frames=empty), result.frames.shape))
        connection.send_bytes(np.ascontiguousarray(result.frames).reshape(-1).data)
    else:
        connection.send((result, None))


def _receive(connection: Connection) -> Any:
    result, shape = connection.recv()
    if shape is None:
        return result
    frames = np.frombuffer(connection.recv_bytes(), np.uint8).reshape(shape)
    return replace(result, frames=frames)
