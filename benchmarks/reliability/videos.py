"""Damage videos of many formats and extract their frames: is each stored, or refused with a reason?

Files are cut, overwritten with zeros or noise, mixed up, or have flipped bits; some are noise alone. A stored
video is flat if half of its frames have a single colour, which none of the whole videos has.
Run: python benchmarks/reliability/videos.py [--files 400] [--seed 0]
"""

from __future__ import annotations

import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.campaign import parser_of, print_table
from reliability.hostile import damaged, outcome

from tests.support.videos import GOOD
from vopcli.frames.store import FrameStore

NAMES = (
    *(
        "long-gop.mp4",
        "short-gop.mp4",
        "mpeg-ts.ts",
        "matroska.mkv",
        "raw-stream.h264",
        "hevc.mp4",
        "vp8.webm",
    ),
    *("vp9.webm", "mpeg4.avi", "mpeg4-b.avi", "mpeg2.mpg", "wmv.wmv", "flash.flv", "theora.ogv", "mjpeg.avi"),
    *("no-b-frames.mp4", "noise.avi"),
)
BATCH = 20


@dataclass
class Counts:
    """Outcomes of damaged videos: ``partly`` are those stored with damaged packets."""

    files: int = 0
    stored: int = 0
    partly: int = 0
    refused: int = 0
    flat: int = 0
    ended: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether each video was stored or refused, and no command ended in any other way."""
        return self.stored + self.refused == self.files and not self.ended and not self.flat


@dataclass(frozen=True)
class Campaign:
    """Whole videos to damage."""

    name: str
    whole: list[Path]


def make_whole(folder: Path) -> list[Path]:
    """Write one whole video of each format."""
    folder.mkdir()
    for name in NAMES[:-1]:
        GOOD[name](folder / name)
    return [folder / name for name in NAMES]


def damage_videos(whole: list[Path], count: int, seed: int) -> Counts:
    """Damage ``count`` videos, and extract their frames in batches."""
    chance, counts = random.Random(seed), Counts()  # noqa: S311
    for start in range(0, count, BATCH):
        folder = Path("damaged")
        folder.mkdir()
        for number in range(start, min(start + BATCH, count)):
            source = whole[number % len(whole)]
            path = folder / f"{number}{source.suffix}"
            if source.exists():
                damaged(source)(path, chance)
            else:
                path.write_bytes(chance.randbytes(100_000))
            counts.files += 1
        command = ("extract-frames", "damaged", "frames.h5", "--size", "32", "--workers", "1", "--overwrite")
        counts.ended += outcome(command) not in {"accepted", "refused"}
        if Path("frames.h5").exists():
            add_store(counts, Path("frames.h5"))
            Path("frames.h5").unlink()
        shutil.rmtree(folder)
    return counts


def add_store(counts: Counts, path: Path) -> None:
    """Count the videos of a store."""
    store = FrameStore.open(path)
    counts.refused += len(store.failures)
    for video in store.videos:
        levels = np.ptp(store.read(video)[: video.num_real], axis=(1, 2)).max(axis=1)
        is_flat = np.mean(levels <= 2) >= 0.5
        if is_flat:
            print(f"{video.path}: flat, {video.num_bad_packets} damaged packets", file=sys.stderr)
        counts.stored += 1
        counts.partly += video.num_bad_packets > 0
        counts.flat += bool(is_flat)


def main() -> None:
    """Print a table; exit with 1 if a video was neither stored nor refused, or is flat."""
    options = parser_of(__doc__, "files", 400, "damaged videos").parse_args()
    print_table(
        ("videos", "damaged", "stored", "partly damaged", "refused", "flat", "crash or hang"),
        lambda folder: [Campaign("of 16 formats", make_whole(folder / "whole"))],
        lambda campaign: damage_videos(campaign.whole, options.files, options.seed),
        only=options.only,
    )


if __name__ == "__main__":
    main()
