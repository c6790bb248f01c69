"""A Ray cluster of two nodes on loopback addresses, whose processes are ended by their numbers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support.extracting import REPOSITORY

HEAD, OTHER = "127.0.0.2", "127.0.0.3"  # Ray replaces 127.0.0.1 by the address of the host
_MARK = "VOP_TEST_NODE"
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "PYTHONPATH": str(REPOSITORY),
}


class RayCluster:
    """A head node and another one, of one core each."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        with socket.create_server((HEAD, 0)) as server:
            self.address = f"{HEAD}:{server.getsockname()[1]}"

    def start(self, folder: Path) -> None:
        """Start both; the paths of sockets below the folder must be short."""
        port = self.address.rpartition(":")[2]
        self._start(HEAD, "--head", "--port", port, "--temp-dir", str(folder), "--include-dashboard", "false")
        self._start(OTHER, "--address", self.address)

    def _start(self, node: str, *options: str) -> None:
        command = [
            Path(sys.executable).with_name("ray"),
            "start",
            "--node-ip-address",
            node,
            "--num-cpus",
            "1",
        ]
        environment = {**os.environ, **ENVIRONMENT, _MARK: f"{self.mark}-{node}"}
        command += ["--object-store-memory", str(80 << 20), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def processes(self, name: str = "", node: str = "") -> list[int]:
        """Return the processes of a node, or of both, whose command has this name."""
        wanted = f"{_MARK}={self.mark}-{node}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().split(b"\0")[0]
                if name.encode() in command and wanted in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def kill(self, name: str, node: str = "") -> None:
        """Kill one process."""
        os.kill(self.processes(name, node)[0], signal.SIGKILL)

    def close(self) -> None:
        """Kill all processes; those that they start meanwhile as well."""
        while running := self.processes():
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)


@contextlib.contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Start a cluster, and end it, whatever happens."""
    folder, cluster = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")), RayCluster()
    try:
        cluster.start(folder)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
