"""The file of saved scores: its contents, and damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import vopcli
from vopcli.cli.info import describe_file
from vopcli.errors import DataError
from vopcli.evaluation.rescore import rescore
from vopcli.evaluation.score_file import read_similarities, write_similarities
from vopcli.frames.store import FrameStore
from vopcli.progress import SilentProgress


def embed_split(folder: Path, split: str) -> tuple[NDArray[np.float32], NDArray[np.float32], list[int]]:
    """Captions, videos and owners through the Python interface."""
    model = vopcli.load_model(str(folder / "tiny.safetensors"), device="cpu", precision="fp32")
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["split"] == split]
    names = list(dict.fromkeys(line["video"] for line in lines))
    store = FrameStore.open(folder / "out.h5")
    videos = {video.path: video for video in store.videos}
    frames = np.stack([store.read(videos[name]) for name in names])
    texts = model.encode_text([line["caption"] for line in lines])
    return texts, model.encode_video(frames), [names.index(line["video"]) for line in lines]


def test_the_file_holds_what_a_plain_product_gives(folder: Path, saved: dict[str, Any]) -> None:
    found = read_similarities(folder / "s.h5")
    texts, videos, owner = embed_split(folder, "test")
    np.testing.assert_allclose(found.similarity[:], texts @ videos.T, atol=2e-6)
    assert found.owner.tolist() == owner
    assert found.document["answers"] == saved["answers"]
    train_texts, _, _ = embed_split(folder, "train")
    test_scores = train_texts @ videos.T
    for row in np.asarray(found.bank[:]):  # each caption of the bank is one for training
        assert np.abs(test_scores - row).max(axis=1).min() < 2e-6
    assert found.val_similarity.shape == (4, 2)  # 0.3 of 7 videos, with two captions each
    assert found.bank.shape == (7, 3)
    assert found.val_bank.shape == (7, 2)


def test_a_changed_byte_is_found_and_a_file_of_another_kind_is_refused(
    folder: Path, saved: dict[str, Any]
) -> None:
    content = bytearray((folder / "s.h5").read_bytes())
    block = np.asarray(read_similarities(folder / "s.h5").bank[:]).tobytes()
    content[content.index(block) + 2] ^= 0x40
    (folder / "flipped.h5").write_bytes(content)
    for use in (rescore, lambda path: describe_file(path, SilentProgress())):
        with pytest.raises(DataError, match=r"flipped\.h5 is damaged: bank does not match its checksum"):
            use(folder / "flipped.h5")
    saved = read_similarities(folder / "s.h5")
    nan = replace(saved, bank=np.full(saved.bank.shape, np.nan, np.float32))
    write_similarities(folder / "nan.h5", nan, is_new=True)
    with pytest.raises(DataError, match=r"nan\.h5 is damaged: NaN or infinity"):
        rescore(folder / "nan.h5")
    with pytest.raises(DataError, match="is a frame store, not saved scores"):
        rescore(folder / "out.h5")
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.h5"):
        rescore(folder / "cut.h5")
