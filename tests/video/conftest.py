"""Videos of many kinds, written once."""

from __future__ import annotations

import pytest

from tests.support.videos import (
    GoodVideos,
)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> GoodVideos:
    return GoodVideos(tmp_path_factory.mktemp("videos"))
