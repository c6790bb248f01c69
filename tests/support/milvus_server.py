"""The standalone Milvus server of the PyPI package ``milvus``, ended by its process id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_START = """
import os, sys
from milvus import MilvusServer
server = MilvusServer(wait_for_started=False)
server.set_base_dir(sys.argv[1])
server.start()
print(server.server_proc.pid, server.listen_port, server.webservice_port, flush=True)
os._exit(0)  # the server goes on
"""
_START_SECONDS = 120


class MilvusServer:
    """A server whose data outlive it.

    Attributes:
        pid: its process.
        port: where it listens, the same after a restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.pid, self.port, self._health_port = folder, 0, 0, 0

    def start(self) -> None:
        command = [sys.executable, "-c", _START, str(self._folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        self.pid, self.port, self._health_port = map(int, done.stdout.split())
        self._wait()

    def start_again(self) -> None:
        """Start the program with the configuration of the first start: the package would take other ports."""
        libraries, metrics = str(self._folder / "bin"), str(self._health_port)
        places = {"LD_LIBRARY_PATH": libraries, "MILVUS_RUN_DIR": str(self._folder / "run")}
        env = os.environ | places | {"DEPLOY_MODE": "STANDALONE", "METRICS_PORT": metrics}
        code = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL).pid)"
        command = [sys.executable, "-c", code, str(self._folder / "bin" / "milvus"), "run", "standalone"]
        done = subprocess.run(
            command, env=env, cwd=self._folder, stdout=subprocess.PIPE, text=True, check=True
        )
        self.pid = int(done.stdout)
        self._wait()

    def _wait(self) -> None:
        address, end = f"http://127.0.0.1:{self._health_port}/healthz", time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(address) as answer:
                if b"OK" in answer.read():
                    return  # an error until it is healthy
            assert _is_alive(self.pid), "the server has ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)

    def kill(self) -> None:
        """End the process with SIGKILL, and wait until it is gone: it is no child of this one."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            while _is_alive(self.pid):
                time.sleep(0.05)
        self.pid = 0

    def name(self, collection: str) -> str:
        return f"milvus://127.0.0.1:{self.port}/{collection}"


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextlib.contextmanager
def milvus_server(folder: Path) -> Iterator[MilvusServer]:
    """Start a server, and end it also if the test fails."""
    server = MilvusServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
