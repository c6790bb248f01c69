"""Films of the demo set: clips joined to several minutes, each with one scene that no other film has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vopcli.datasets.demo.drawing import FRAME_RATE, NUM_FRAMES, draw_video, write_video
from vopcli.datasets.demo.scenes import DemoVideo, plan_demo
from vopcli.errors import FileError
from vopcli.files.atomic import atomic_path
from vopcli.progress import Progress

FILMS: Final = "films"
QUERIES: Final = "films.jsonl"
FILM_INDEX: Final = "films.h5"
NUM_FILMS: Final = 12
NUM_CLIPS: Final = 100  # of a film: five minutes
FILM_COMMANDS: Final = (
    f"vop encode {FILMS}/ {FILM_INDEX}",
    f'vop search "a blue square" --index {FILM_INDEX} --top 3',
)
CLIP_SECONDS: Final = NUM_FRAMES / FRAME_RATE


@dataclass(frozen=True)
class Film:
    """A film: its clips in order, of which one shows a look that no other clip of any film shows."""

    name: str
    clips: tuple[DemoVideo, ...]
    number: int

    @property
    def query(self) -> str:
        """The text that only the clip ``number`` matches."""
        return f"a {self.clips[self.number].start.look}"

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.clips) * CLIP_SECONDS

    @property
    def window(self) -> tuple[float, float]:
        """Start and end of the clip ``number`` in seconds."""
        return self.number * CLIP_SECONDS, (self.number + 1) * CLIP_SECONDS


def plan_films(*, seed: int, num_films: int = NUM_FILMS, num_clips: int = NUM_CLIPS) -> list[Film]:
    """Choose the clips of each film from the test videos of the demo set; at most 23 films."""
    by_look: dict[str, list[DemoVideo]] = {}
    for pair in plan_demo(seed=seed):
        for video in pair:
            if video.split == "test":
                by_look.setdefault(video.start.look, []).append(video)
    rng = np.random.default_rng([seed, 71])
    looks = rng.permutation(sorted(by_look)).tolist()
    common = [clip for look in looks[num_films:] for clip in by_look[look]]
    films = []
    for number, look in enumerate(looks[:num_films], 1):
        clips = [common[k] for k in rng.integers(len(common), size=num_clips)]
        place = int(rng.integers(num_clips))
        clips[place] = by_look[look][int(rng.integers(len(by_look[look])))]
        films.append(Film(f"film-{number:02d}.mp4", tuple(clips), place))
    return films


def write_films(folder: Path, films: Sequence[Film], progress: Progress, *, overwrite: bool = False) -> int:
    """Write the films that do not exist yet, or all, and their queries; return the number of films written.

    The queries are JSON Lines in the form of moment retrieval benchmarks: qid, query, duration, vid and
    relevant_windows, times in seconds.

    Raises:
        FileError: the folder cannot be written.
    """
    missing = [film for film in films if overwrite or not (folder / FILMS / film.name).exists()]
    try:
        if overwrite:
            (folder / FILM_INDEX).unlink(missing_ok=True)
        (folder / FILMS).mkdir(parents=True, exist_ok=True)
        with progress.task("Joining clips", total=len(missing), unit="films") as task:
            for film in missing:
                write_video(folder / FILMS / film.name, _frames(film))
                task.advance()
        with atomic_path(folder / QUERIES) as unfinished:
            unfinished.write_text("".join(f"{line}\n" for line in _lines(films)), encoding="utf-8")
    except OSError as error:
        raise FileError(error.filename or folder, error) from error
    return len(missing)


def _frames(film: Film) -> Iterator[NDArray[np.uint8]]:
    for clip in film.clips:
        yield from draw_video(clip)


def _lines(films: Sequence[Film]) -> Iterator[str]:
    for number, film in enumerate(films):
        line = {"qid": number, "query": film.query, "duration": film.duration, "vid": film.name}
        yield json.dumps(line | {"relevant_windows": [list(film.window)]})
