from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from tests.support.weights_files import TINY
from vopcli.clip.tokenizer import Tokenizer
from vopcli.config.load import load_config
from vopcli.config.schema import Config
from vopcli.datasets.splits import (
    CaptionedStore,
    open_captioned_store,
    split_for_training,
    tokenise_split,
)
from vopcli.errors import DataError, UsageError
from vopcli.progress import SilentProgress

SIDE = 16


def open_store(config: Config, split: str | None = None) -> CaptionedStore:
    return open_captioned_store(
        config, SilentProgress(), shape=dataclasses.replace(TINY, image_resolution=SIDE), split=split
    )


@pytest.fixture
def config(folder: Path) -> Config:
    return load_config(folder / "vop.yaml")


def test_videos_with_the_smallest_hashes_are_held_out(config: Config) -> None:
    data = open_store(config)
    train, val, source = split_for_training(data, val_share=0.3)
    listed = [video.key for video in data.annotations.split("train").videos]
    smallest = sorted(listed, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[:2]
    assert [video.key for video in val.videos] == [key for key in listed if key in smallest]
    assert [video.key for video in train.videos] == [key for key in listed if key not in smallest]
    assert source == "2 of the 7 training videos, held out"
    with pytest.raises(DataError, match=r"0\.01 of 7 training videos leaves no videos"):
        split_for_training(data, val_share=0.01)


def test_a_split_named_val_is_used_instead(config: Config, folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    for line in lines[:4]:
        line["split"] = "val"
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    train, val, source = split_for_training(open_store(config), val_share=0.3)
    assert (len(train.videos), len(val.videos), source) == (5, 2, "the split val")


def test_captions_are_cut_to_the_smaller_limit(config: Config) -> None:
    data = open_store(config, split="test")
    split = data.annotations.split("test")
    found = tokenise_split(dataclasses.replace(data, max_tokens=8), split, max_tokens=77)
    texts = [caption for video in split.videos for caption in video.captions]
    expected, num_cut = Tokenizer().tokenize(texts, max_tokens=8)
    assert (found.texts, found.max_tokens, found.num_cut) == (tuple(texts), 8, num_cut)
    assert (found.tokens == expected).all()
    assert [found.videos[at].path for at in found.owner] == [v.key for v in split.videos for _ in v.captions]
    assert tokenise_split(data, split, max_tokens=5).max_tokens == 5


def test_settings_and_store_must_fit(config: Config) -> None:
    for changes, match in (
        ({"frames": None}, "no frame store is given"),
        ({"captions": None}, "neither captions nor a benchmark is given"),
    ):
        with pytest.raises(UsageError, match=match):
            open_store(dataclasses.replace(config, data=dataclasses.replace(config.data, **changes)))
    with pytest.raises(DataError, match="has frames of 16 pixels, the model takes 32"):
        open_captioned_store(config, SilentProgress(), shape=dataclasses.replace(TINY, image_resolution=32))
