"""Fixtures that several folders of tests share."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# Small tensors gain nothing from threads, and lose much where tests run beside each other.
# Set before torch is loaded, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Property tests check results; their wall time depends on the tests that run beside them.
hypothesis.settings.register_profile("vop", deadline=None)
hypothesis.settings.load_profile("vop")

# A shell that starts the tests in the background may have Ctrl-C ignored, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).parents[1]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU with CUDA")


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in its own folder and with its own cache; drop the settings and proxies of the shell."""
    for name in os.environ:
        if name.startswith("VOP_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("VOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)  # of child processes
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of a tiny model."""
    from tests.support.models import write_model

    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def training_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame store of ten small films."""
    from tests.support.training import make_store

    return make_store(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def candidates_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same films in a frame store of three candidates for each frame."""
    from tests.support.training import make_store

    return make_store(tmp_path_factory.mktemp("candidates"), candidates=3)


@pytest.fixture
def folder(training_store: Path, tmp_path: Path) -> Path:
    """The current folder: settings, captions with a split test, a store, and a model."""
    from tests.support.training import make_captioned_folder

    return make_captioned_folder(tmp_path, training_store)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden files be written anew."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the files in tests/golden")


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file in tests/golden, which must be there; --update-golden writes it."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing: write it with --update-golden, and read it"
        assert text == path.read_text(encoding="utf-8")

    return check
