"""A process that shows no sign of progress is ended; one that does, or has no job, is not."""

import subprocess
import sys

import pytest

from vopcli.video.watch import STALLED_EXIT_CODE

SCRIPT = """
import sys, time
from vopcli.video.watch import Watch
watch = Watch(0.2)
watch.start(time.sleep)
watch.begin()
for _ in range(5):
    time.sleep(0.1)
    if "tick" in sys.argv:
        watch.tick()
    if "end" in sys.argv:
        watch.end()
"""


@pytest.mark.parametrize(("does", "code"), [("stall", STALLED_EXIT_CODE), ("tick", 0), ("end", 0)])
def test_only_a_stalled_process_is_ended(does: str, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", SCRIPT, does], check=False).returncode == code
