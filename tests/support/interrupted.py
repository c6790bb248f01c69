"""Started by torchrun in a captioned folder: Ctrl-C between the last step of an epoch and its validation."""

from __future__ import annotations

import signal
import sys

from vopcli.config.load import load_config
from vopcli.progress import SilentProgress
from vopcli.training.prepare import TrainRequest, prepare
from vopcli.training.processes import joined
from vopcli.training.train import follow, run


class InterruptedAtFirstNote(SilentProgress):
    """Raises the signal when the losses of the first epoch are shown."""

    def note(self, message: str) -> None:
        signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Print how each process ended."""
    request = TrainRequest(load_config(assignments=["training.lr=1e-3", "tuning.variant=P"]))
    with joined() as processes:
        try:
            if processes.is_first:
                progress = InterruptedAtFirstNote()
                run(prepare(request, progress, processes), progress)
            else:
                follow(request, processes)
        except KeyboardInterrupt:
            sys.stdout.write(f"{processes.rank} interrupted\n")


if __name__ == "__main__":
    main()
