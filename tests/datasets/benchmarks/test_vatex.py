from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.annotations import write_json, write_list, write_vatex
from vopcli.config.choices import DatasetName
from vopcli.datasets.benchmarks.registry import read_dataset
from vopcli.datasets.records import CaptionedVideo
from vopcli.errors import DataError

VATEX = DatasetName.VATEX


def test_vatex_lists(tmp_path: Path) -> None:
    ten = [f"A dog runs {n}." for n in range(10)]
    captions = {
        "AbCdEfGhIjK_000010_000020": ten,
        "v2_000000_000010": ten[:9],
        "v3_000000_000010": [*ten[1:], "x"],
    }
    write_vatex(tmp_path, captions, train=["v2_000000_000010"], test=["AbCdEfGhIjK_000010_000020"])
    annotations = read_dataset(VATEX, tmp_path)
    assert list(annotations.splits) == ["train", "test"]
    assert annotations.split("test").videos == (CaptionedVideo("AbCdEfGhIjK_000010_000020", tuple(ten)),)
    assert annotations.split("train").report.notes == (
        "1 videos do not have 10 captions: v2_000000_000010 has 9",
    )
    write_list(tmp_path / "val_list.txt", ["v3_000000_000010"])
    assert list(read_dataset(VATEX, tmp_path).splits) == ["train", "val", "test"]
    (tmp_path / "val_list.txt").unlink()
    with pytest.raises(DataError, match=r"val_list\.txt is missing"):
        read_dataset(VATEX, tmp_path, splits=["val"])


@pytest.mark.parametrize("document", [[], {"a": "x"}, {"a": [1]}, {"a": {"en": ["x"]}}])
def test_vatex_of_another_shape(tmp_path: Path, document: object) -> None:
    write_list(tmp_path / "test_list.txt", ["a"])
    write_json(tmp_path / "ref_captions.json", document)
    with pytest.raises(DataError, match=r"ref_captions\.json: (must map|the captions of 'a' must be a list)"):
        read_dataset(VATEX, tmp_path, splits=["test"])
