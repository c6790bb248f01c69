from __future__ import annotations

import collections
import contextlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.annotations import python2_pickle
from vopcli.errors import DataError
from vopcli.files.plain_pickle import read_plain_pickle


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "raw-captions.pkl"
    path.write_bytes(python2_pickle({"a_1_2": [[b"a", b"caf\xe9"], [b"it's"]], "b_1_2": [[b"x"]]}))
    assert read_plain_pickle(path) == {"a_1_2": [["a", "caf\u00e9"], ["it's"]], "b_1_2": [["x"]]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [collections.OrderedDict, dict, collections.defaultdict])
def test_containers_and_bytes(tmp_path: Path, kind: type[dict[bytes, object]], protocol: int) -> None:
    document = kind(list) if kind is collections.defaultdict else kind()  # type: ignore[call-arg]
    document[b"v"] = [(b"caf\xe9", "\u4e2d"), ["x"]]
    (tmp_path / "p").write_bytes(pickle.dumps(document, protocol=protocol))
    assert read_plain_pickle(tmp_path / "p") == {"v": [["caf\u00e9", "\u4e2d"], ["x"]]}


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        read_plain_pickle(path)
