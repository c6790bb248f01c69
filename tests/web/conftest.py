"""One site for all tests of the page."""

from pathlib import Path

import pytest

from tests.support.web import write_site


@pytest.fixture(scope="session")
def site_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of four videos of 2.4 seconds, which tests do not change."""
    return write_site(tmp_path_factory.mktemp("site"))
