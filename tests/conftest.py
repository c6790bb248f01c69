"""Fixtures that several folders of tests share."""

import os
import signal
from pathlib import Path

import pytest

# Small tensors gain nothing from threads, and lose much where tests run beside each other.
# Set before torch is loaded, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background may have Ctrl-C ignored, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def training_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame store of ten small films."""
    from tests.support.training import make_store

    return make_store(tmp_path_factory.mktemp("training"))
