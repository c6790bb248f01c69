"""``vop serve`` before it listens: packages, indexes and addresses that are missing."""

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from vopcli.cli.app import app


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    code = """
import sys
sys.modules["uvicorn"] = None
sys.argv = ["vop", "serve", "idx.h5"]
from vopcli.cli.app import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert "not installed" in error
    assert 'pip install "vopcli[web]"' in hint


def test_a_missing_index_is_reported(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "none.h5"])
    assert done.exit_code == 3
    assert "none.h5 does not exist" in done.stderr


def test_a_port_must_be_one() -> None:
    assert CliRunner().invoke(app, ["serve", "none.h5", "--port", "70000"]).exit_code == 2
