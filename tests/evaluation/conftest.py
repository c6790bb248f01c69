"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vopcli.cli.app import app


@pytest.fixture
def saved(folder: Path) -> dict[str, Any]:
    """Save the scores of the plain backbone as s.h5; return the JSON of the evaluation."""
    done = CliRunner().invoke(app, ["eval", "zero-shot", "--save-sims", "s.h5", "--bank", "7", "--json"])
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))
