"""Decode videos on a Ray cluster: actors in place of the worker processes of `vopcli/video/pool.py`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from vopcli.config.schema import DataConfig
from vopcli.errors import DataError, UsageError, VideoError, format_name, format_value
from vopcli.progress import Progress
from vopcli.resources import __version__, num_workers
from vopcli.video.watch import STALLED_SECONDS, Watch

if TYPE_CHECKING:  # the modules that decode take time to load
    from vopcli.video.pool import DecodeJob, Result, Work, Workers

MOST_PUT_BACK: Final = 3  # times that a video is tried again because its actor or node was lost
_RESULTS_AHEAD: Final = 2  # of an actor; it waits until they are taken
_CONNECT_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 1.0  # between looks at the nodes


@contextlib.contextmanager
def opened_workers(data: DataConfig, progress: Progress) -> Iterator[Workers]:
    """Return the workers that decode: a number of processes, or with ``data.ray`` those of a Ray cluster.

    Raises:
        UsageError: the extra ``ray`` is not installed, or the address is malformed.
        DataError: no cluster answers, or it cannot be used.
    """
    if data.ray is None:
        yield num_workers(data.workers)
        return
    if find_spec("ray") is None:
        raise UsageError("--ray needs Ray, which is not installed", hint='run `pip install "vopcli[ray]"`')
    _check_address(data.ray)
    # Ray prints messages about dead workers and nodes to standard output, which is for results
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    import ray

    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(data.ray, data.workers)
    try:
        with contextlib.closing(RayPool(data.workers, progress)) as pool:
            yield pool
    finally:
        if is_ours:
            ray.shutdown()


def _connect(address: str, workers: int | None) -> None:
    import ray

    options: dict[str, Any] = {"address": address}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"num_cpus": num_workers(workers), "include_dashboard": False}
    hint = "start Ray on this machine with `ray start --address HOST:PORT`, or use --ray local"
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"no connection to Ray at {address}: {format_name(reason, 300)}", hint=hint
        ) from error


def _check_address(address: str) -> None:
    """Connect to an address: Ray itself tries for minutes, and then ends the process.

    Raises:
        UsageError: it is not an address.
        DataError: nothing answers.
    """
    if address in {"auto", "local"}:
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UsageError(
            f"--ray {format_value(address)} is not an address",
            hint="write auto, local, or HOST:PORT of the head node, such as 10.0.0.1:6379",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise DataError(
            f"no Ray cluster answers at {address}: {error}",
            hint="name the address that `ray start --head` has printed",
        ) from error


class RayPool:
    """Actors on the connected Ray cluster, each with at most one call in flight.

    An actor that is not scheduled yet, or restarts after its process or node was lost, gets no job: its call
    of ``version``, which Ray repeats, returns once it runs.
    """

    def __init__(self, most: int | None, progress: Progress) -> None:
        """Count the cores of the cluster.

        Args:
            most: maximum number of actors; None: one per core.
            progress: receives a note of the nodes, and a warning when one is lost.

        Raises:
            DataError: the cluster has no cores.
        """
        import ray

        self.ray = ray
        self.progress = progress
        self.nodes = self._living_nodes()
        cores = int(ray.cluster_resources().get("CPU", 0))
        self.num_actors = min(cores, most or cores)
        if not self.num_actors:
            raise DataError("the Ray cluster has no CPUs", hint="start a node with `ray start --num-cpus N`")
        progress.note(f"Ray nodes: {len(self.nodes)}, decoders: {self.num_actors}")
        ray.method(max_task_retries=-1)(_Actor.version)
        self._actor_class = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=0)(_Actor)
        self._actors: list[Any] = []
        self.starting: dict[Any, Any] = {}  # actors by their calls of `version`
        self.idle: list[Any] = []

    def run_jobs(
        self, jobs: Iterable[DecodeJob], work: Work[Result]
    ) -> Iterator[tuple[DecodeJob, Result | VideoError]]:
        """Run ``work`` on many videos, in arbitrary order, as `vopcli.video.pool.run_jobs` does."""
        run = _Run(self, iter(jobs), work)
        try:
            yield from run.results()
        finally:
            for actor, _ in run.calls.values():
                self.ray.kill(actor)
                self._actors.remove(actor)  # for good: a later call starts another

    def add_actors(self, wanted: int) -> None:
        """Start actors until there are ``wanted``, or as many as cores."""
        for _ in range(len(self._actors), min(wanted, self.num_actors)):
            self._actors.append(self._actor_class.remote())
            self.start(self._actors[-1])

    def start(self, actor: Any) -> None:
        """Call an actor that is to start; `begin` takes the answer."""
        self.starting[actor.version.remote()] = actor

    def begin(self, call: Any) -> None:
        """Add an actor that has started to the idle ones.

        Raises:
            DataError: it cannot start, or its node has another version of vopcli.
        """
        actor = self.starting.pop(call)
        try:
            version = self.ray.get(call)
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise DataError(
                f"a decoder does not start on Ray: {format_name(reason, 300)}",
                hint=f"install vopcli {__version__} on each node",
            ) from error
        if version != __version__:
            raise DataError(
                f"a node of the Ray cluster has vopcli {version}, this machine has {__version__}",
                hint="install the same version on each node",
            )
        self.idle.append(actor)

    def warn_of_lost_nodes(self) -> None:
        """Warn of nodes that were lost since the last call."""
        living = self._living_nodes()
        for node in self.nodes.keys() - living.keys():
            self.progress.warn(f"Ray lost the node {self.nodes[node]}; nodes left: {len(living)}")
        self.nodes = living

    def _living_nodes(self) -> dict[str, str]:
        """Return the addresses of the nodes with cores, by identifier."""
        return {
            node["NodeID"]: node["NodeManagerAddress"]
            for node in self.ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU")
        }

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            self.ray.kill(actor)


class _Actor:
    """Works in a process of a node."""

    def __init__(self) -> None:
        self.watch = Watch(STALLED_SECONDS)
        self.watch.start(time.sleep)

    def version(self) -> str:
        """Return the version of vopcli on the node; called first, to learn that the actor runs."""
        return __version__

    def run(self, job: DecodeJob, work: Work[Any], num_known: int) -> Iterator[Any]:
        """Yield the results of a job after the first ``num_known``, which an earlier actor has returned."""
        from vopcli.video.pool import watched

        for result in islice(watched(job, work, self.watch), num_known, None):  # noqa: UP028  (see below)
            yield result  # not `yield from`: Ray sends values, which an islice does not take


@dataclass
class _Task:
    """A job, the number of its results that were taken, and of the actors that were lost with it."""

    job: DecodeJob
    num_known: int = 0
    num_lost: int = 0


class _Run:
    """The jobs of one call of `RayPool.run_jobs`."""

    def __init__(self, pool: RayPool, jobs: Iterator[DecodeJob], work: Work[Any]) -> None:
        self.pool, self.ray = pool, pool.ray
        self.jobs, self.work = jobs, work
        self.waiting = deque(_Task(job) for job in islice(jobs, pool.num_actors))
        self.calls: dict[Any, tuple[Any, _Task]] = {}
        pool.add_actors(len(self.waiting))

    def results(self) -> Iterator[tuple[DecodeJob, Any]]:
        """Yield results until all jobs are done."""
        looked = time.monotonic()
        while self._send_jobs() or self.calls:
            ready, _ = self.ray.wait([*self.calls, *self.pool.starting], timeout=_WAIT_SECONDS)
            for call in ready:
                if call in self.calls:
                    yield from self._take(call)
                else:
                    self.pool.begin(call)
            if time.monotonic() - looked > _WAIT_SECONDS:
                self.pool.warn_of_lost_nodes()
                looked = time.monotonic()

    def _send_jobs(self) -> bool:
        """Send a job to each idle actor; return whether jobs are left."""
        while (task := self._next_task()) is not None:
            if not self.pool.idle:
                self.waiting.appendleft(task)
                return True
            actor = self.pool.idle.pop()
            options = {"num_returns": "streaming", "_generator_backpressure_num_objects": _RESULTS_AHEAD}
            call = actor.run.options(**options).remote(task.job, self.work, task.num_known)
            self.calls[call] = actor, task
        return False

    def _next_task(self) -> _Task | None:
        """Return the next job; those that were put back are the last."""
        if self.waiting and not self.waiting[0].num_lost:
            return self.waiting.popleft()
        if (job := next(self.jobs, None)) is not None:
            return _Task(job)
        return self.waiting.popleft() if self.waiting else None

    def _take(self, call: Any) -> Iterator[tuple[DecodeJob, Any]]:
        """Take the next result of a call, its end, or the loss of its actor."""
        actor, task = self.calls.pop(call)
        path = task.job.path
        try:
            result = self.ray.get(next(call))
        except StopIteration:
            self.pool.idle.append(actor)
        except self.ray.exceptions.RayTaskError as error:
            self.pool.idle.append(actor)
            yield task.job, VideoError(f"{path}: cannot be decoded ({error.cause})", hint="is it damaged?")
        except self.ray.exceptions.RayError:
            self.pool.start(actor)
            task.num_lost += 1
            if task.num_lost <= MOST_PUT_BACK:
                self.waiting.append(task)
                return
            problem = f"{path}: {task.num_lost} Ray workers ended while they decoded it"
            yield task.job, VideoError(problem, hint="it may have run out of memory, or is it damaged?")
        else:
            task.num_known += 1
            self.calls[call] = actor, task  # behind the others: each gets its turn
            yield task.job, result
