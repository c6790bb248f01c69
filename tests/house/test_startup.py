"""What a start may load: help and a plain import stay instant, a search never waits for torch."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "cv2", "av", "h5py", "numpy", "rich", "yaml", "safetensors", "ftfy"}


def loaded_by(code: str) -> set[str]:
    """Run ``code`` in a new interpreter and return the names of the top-level modules it left loaded."""
    report = "\nimport sys; print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["vopcli", "vopcli.cli.app", "vopcli.config.schema"])
def test_import_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        "vopcli.search.search",
        "vopcli.frames.extract",
        "vopcli.cli.info",
        "vopcli.reports.report",
    ],
)
def test_commands_without_a_model_load_no_torch(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module.partition(".")[0] in loaded
    assert not loaded & {"torch", "torchvision", "timm"}


def test_the_probe_sees_what_is_loaded() -> None:
    assert "numpy" in loaded_by("import numpy")
