"""A small made-up release of each benchmark: annotations in the published format, and videos that decode."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.annotations import (
    lsmdc_id,
    write_activitynet,
    write_didemo,
    write_list,
    write_lsmdc,
    write_msrvtt,
    write_msvd_pickle,
    write_vatex,
)
from tests.support.videos import make_video
from vopcli.config.choices import DatasetName

TRAIN, VAL, TEST = 8, 4, 4
SCENES = ("a red circle", "a blue square", "a green star", "a cat jumps", "two dogs run", "SOMEONE smiles")
FPS = 2
LONG = 80  # frames, 40 seconds: longer than the 31 seconds of DiDeMo


@dataclass(frozen=True)
class Release:
    """What was written.

    Attributes:
        files: the path below the root of each video, by split, in the order of the annotations.
        num_captions: captions of each split.
    """

    files: Mapping[str, list[str]]
    num_captions: Mapping[str, int]


def write_benchmark(dataset: DatasetName, root: Path) -> Release:
    """Write a release, with a video that no list names beside those it has."""
    release = WRITERS[dataset](root)
    files = [file for split in release.files.values() for file in split]
    for number, file in enumerate([*files, "of no list.mp4"]):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        made = make_video(root / "made.mp4", num_frames=LONG - number, width=64, height=48, fps=str(FPS))
        shutil.move(made, root / file)  # whatever its suffix says
    return release


def _scene(number: int) -> str:
    return f"{SCENES[number % len(SCENES)]} number {number}"


def _counts(name: Callable[[int], str]) -> dict[str, list[str]]:
    """Names of the videos of three splits."""
    numbers = {"train": range(TRAIN), "val": range(100, 100 + VAL), "test": range(200, 200 + TEST)}
    return {split: [name(number) for number in group] for split, group in numbers.items()}


def _msrvtt(root: Path, train_list: str) -> Release:
    names = _counts(lambda number: f"video{number}")
    del names["val"]
    captions = [
        (name, f"{_scene(at)} take {take}") for at, name in enumerate(names["train"]) for take in range(20)
    ]
    captions = captions[:-1]  # one video has 19, as two of the real ones
    test = [(name, _scene(at % 3)) for at, name in enumerate(names["test"])]  # two share a sentence
    write_msrvtt(
        root, train=names["train"], captions=captions, test=test, train_list=train_list, newline="\r\n"
    )
    files = {
        split: [f"{split}/{name}.{'webm' if at == 1 else 'mp4'}" for at, name in enumerate(group)]
        for split, group in names.items()
    }
    return Release(files, {"train": len(captions), "test": TEST})


def _didemo(root: Path) -> Release:
    suffixes = (".mov", ".3gp", ".", ".null")
    names = _counts(lambda number: f"{number}@N00_45{number}_ab{suffixes[number % 4]}")
    for split, group in names.items():
        rows = [(name, f"{_scene(at)} part {part} \n") for part in range(3) for at, name in enumerate(group)]
        write_didemo(root, split, [*rows, ("7@N00_unlisted.mov", "of no list")], listed=reversed(group))
    return Release(
        {split: list(group) for split, group in names.items()},
        {split: len(group) for split, group in names.items()},
    )


def _activitynet(root: Path) -> Release:
    names = _counts(lambda number: f"v_AbCdEfGh{number:03d}")
    del names["val"]
    for split, group in names.items():
        entries = {
            name: (9.4 + at, [_scene(at), f" He is seen {at} times."]) for at, name in enumerate(group)
        }
        write_activitynet(root, split, [f"v_NoCaptions{split[0]}", *group], entries)
    files = {split: [f"all/{name[2:]}.mkv" for name in group] for split, group in names.items()}
    return Release(files, {split: len(group) for split, group in names.items()})


def _lsmdc(root: Path) -> Release:
    names = _counts(lambda number: lsmdc_id(f"{1000 + number}_Some_Movie", number))
    for split, group in names.items():
        lines = [(name, _scene(at)) for at, name in enumerate(group)]
        write_lsmdc(root, split, [*lines, (group[0], 'SOMEONE says "no')] if split == "train" else lines)
    files = {split: [f"{name[:15]}/{name}.avi" for name in group] for split, group in names.items()}
    return Release(files, {"train": TRAIN + 1, "val": VAL, "test": TEST})


def _several_captions(names: dict[str, list[str]], count: int) -> dict[str, list[str]]:
    return {
        name: [f"{_scene(at)} take {take}" for take in range(count)]
        for group in names.values()
        for at, name in enumerate(group)
    }


def _msvd(root: Path) -> Release:
    names = _counts(lambda number: f"AbCdEfGh{number:03d}_5_15")
    write_msvd_pickle(root, _several_captions(names, 3))
    for split, group in names.items():
        write_list(root / f"{split}_list.txt", group, at_end=False)
    files = {split: [f"{name}.avi" for name in group] for split, group in names.items()}
    return Release(files, {split: 3 * len(group) for split, group in names.items()})


def _vatex(root: Path) -> Release:
    names = _counts(lambda number: f"AbCdEfGh{number:03d}_000010_000020")
    write_vatex(root, _several_captions(names, 10), **names)
    files = {split: [f"{split}/{name}.mp4" for name in group] for split, group in names.items()}
    return Release(files, {split: 10 * len(group) for split, group in names.items()})


WRITERS: dict[DatasetName, Callable[[Path], Release]] = {
    DatasetName.MSRVTT_9K: lambda root: _msrvtt(root, "9k"),
    DatasetName.MSRVTT_7K: lambda root: _msrvtt(root, "7k"),
    DatasetName.DIDEMO: _didemo,
    DatasetName.ACTIVITYNET: _activitynet,
    DatasetName.LSMDC: _lsmdc,
    DatasetName.MSVD: _msvd,
    DatasetName.VATEX: _vatex,
}
