"""Write small made-up annotation files in the exact formats of the benchmarks, irregularities included."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vopcli.datasets.records import AnnotatedSplit

UNBREAKABLE = "1012_Unbreakable_00.05.16.065-00.05.21.941"  # the one id that is real: X-Pool skips it


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="ascii")  # what is not ASCII stands as \\u escapes


def write_list(path: Path, names: Iterable[str], *, newline: str = "\n", at_end: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = newline.join(names) + (newline if at_end else "")
    path.write_bytes(text.encode())


def pairs(split: AnnotatedSplit) -> list[tuple[str, str]]:
    """The key of the video and the caption, for each caption."""
    return [(video.key, caption) for video in split.videos for caption in video.captions]


def write_videos(root: Path, names: Iterable[str]) -> None:
    """Files that only have a name; no reader of annotations opens them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"video")


# --- MSR-VTT ------------------------------------------------------------------------------------------------


def msrvtt_document(captions: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`MSRVTT_data.json` with these (video, caption) pairs, in this order."""
    pairs = list(captions)
    videos = [
        {
            "video_id": video,
            "url": "https://example.invalid/watch?v=AbC",
            "category": 3,
            "start time": 1.5,
            "end time": 12.0,
            "split": "train",
            "id": number,
        }
        for number, video in enumerate(dict.fromkeys(video for video, _ in pairs))
    ]
    sentences = [
        {"sen_id": number, "video_id": video, "caption": caption}
        for number, (video, caption) in enumerate(pairs)
    ]
    return {"info": {}, "videos": videos, "sentences": sentences}


def write_msrvtt(
    root: Path,
    *,
    train: Sequence[str],
    captions: Iterable[tuple[str, str]],
    test: Iterable[tuple[str, str]],
    train_list: str = "9k",
    newline: str = "\n",
) -> None:
    write_json(root / "MSRVTT_data.json", msrvtt_document(captions))
    write_list(root / f"MSRVTT_train.{train_list}.csv", ["video_id", *train], newline=newline)
    rows = [
        f"ret{row},msr{video.removeprefix('video')},{video},{sentence}"
        for row, (video, sentence) in enumerate(test)
    ]
    header = "key,vid_key,video_id,sentence"
    write_list(root / "MSRVTT_JSFUSION_test.csv", [header, *rows], newline=newline)


# --- DiDeMo -------------------------------------------------------------------------------------------------


def didemo_row(number: int, video: str, description: str, *, annotators: int = 4) -> dict[str, Any]:
    return {
        "annotation_id": number,
        "description": description,
        "video": video,
        "times": [[1, 2]] * annotators,
        "num_segments": 6,
        "dl_link": "https://example.invalid/1",
    }


def write_didemo(root: Path, split: str, rows: Iterable[tuple[str, str]], listed: Iterable[str]) -> None:
    """Rows of (video, description); every third has five or seven pairs of annotators' times."""
    annotators = (4, 5, 7)
    document = [didemo_row(n, *row, annotators=annotators[n % 3]) for n, row in enumerate(rows)]
    write_json(root / f"{split}_data.json", document)
    write_list(root / f"{split}_list.txt", listed)


# --- ActivityNet --------------------------------------------------------------------------------------------


def activitynet_entry(duration: float, sentences: Sequence[str]) -> dict[str, Any]:
    """Times that overlap, run backwards and end behind the video, as some do."""
    times = [[duration * 0.9, 0.0] if n % 2 else [0.0, duration + 1] for n in range(len(sentences))]
    return {"duration": duration, "timestamps": times, "sentences": list(sentences)}


def write_activitynet(
    root: Path, split: str, ids: Sequence[str], entries: Mapping[str, tuple[float, Sequence[str]]]
) -> None:
    ids_file, captions_file = {
        "train": ("train_ids.json", "train.json"),
        "test": ("val_ids.json", "val_1.json"),
    }[split]
    write_json(root / ids_file, list(ids))
    write_json(root / captions_file, {video: activitynet_entry(*entry) for video, entry in entries.items()})


# --- LSMDC --------------------------------------------------------------------------------------------------

LSMDC_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}


def lsmdc_id(movie: str, number: int) -> str:
    minutes, seconds = divmod(number % 3600, 60)
    return f"{movie}_00.{minutes:02d}.{seconds:02d}.003-00.{minutes:02d}.{seconds:02d}.906"


def lsmdc_line(clip: str, sentence: str) -> str:
    start, end = clip.rpartition("_")[2].split("-")
    return "\t".join([clip, start, end, start, end, sentence])


def write_lsmdc(root: Path, split: str, lines: Iterable[tuple[str, str]]) -> None:
    write_list(root / LSMDC_FILES[split], [lsmdc_line(*line) for line in lines])


# --- MSVD and VATEX -----------------------------------------------------------------------------------------


def write_msvd_json(root: Path, captions: Mapping[str, Sequence[str]]) -> None:
    write_json(root / "captions_msvd.json", {video: list(texts) for video, texts in captions.items()})


def write_msvd_pickle(root: Path, captions: Mapping[str, Sequence[str]], *, protocol: int = 2) -> None:
    """CLIP4Clip's release: each caption a list of words."""
    document = {video: [text.split(" ") for text in texts] for video, texts in captions.items()}
    root.mkdir(parents=True, exist_ok=True)
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(document, protocol=protocol))


def python2_pickle(captions: Mapping[str, Sequence[Sequence[bytes]]]) -> bytes:
    """The bytes Python 2 writes, protocol 0, for a dictionary of lists of lists of its byte strings."""

    def text(value: bytes) -> bytes:
        escaped = "".join(
            chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in value
        )
        return b"S'" + escaped.encode("ascii") + b"'\n"

    items = b"".join(
        text(video.encode())
        + b"(l"
        + b"".join(b"(l" + b"".join(text(word) + b"a" for word in words) + b"a" for words in sentences)
        + b"s"
        for video, sentences in captions.items()
    )
    return b"(d" + items + b"."


def write_vatex(root: Path, captions: Mapping[str, Sequence[str]], **lists: Sequence[str]) -> None:
    write_json(root / "ref_captions.json", {video: list(texts) for video, texts in captions.items()})
    for split, ids in lists.items():
        write_list(root / f"{split}_list.txt", ids)
