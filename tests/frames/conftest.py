"""Folders of real videos, and a store to extract them to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.extracting import make_videos


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the videos that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "videos"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"
