from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.annotations import write_list, write_msvd_json, write_videos
from vopcli.config.choices import DatasetName
from vopcli.config.schema import DataConfig
from vopcli.datasets.check import check_data
from vopcli.errors import UsageError


def test_what_was_published_stands_beside_what_was_found(tmp_path: Path) -> None:
    write_msvd_json(tmp_path, {"a_1_2": ["one", "two"], "b_1_2": ["three"]})
    write_list(tmp_path / "train_list.txt", ["a_1_2"])
    write_list(tmp_path / "test_list.txt", ["b_1_2", "a_1_2"])
    write_videos(tmp_path, ["videos/a_1_2.avi"])
    data = DataConfig(dataset=DatasetName.MSVD, root=str(tmp_path), frames=str(tmp_path / "none.h5"))
    found = check_data(data, ["train", "test"]).to_json()
    assert (found["name"], found["looked_in"], found["is_complete"]) == ("msvd", str(tmp_path), False)
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert [train[name] for name in ("published", "listed", "with_file", "captions")] == [1200, 1, 1, 2]
    assert [test[name] for name in ("published", "used", "without_file")] == [670, 1, ["b_1_2"]]


def test_captions_need_a_store(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"own\.jsonl needs a frame store to find its videos in"):
        check_data(DataConfig(captions="own.jsonl", frames=str(tmp_path / "none.h5")))
