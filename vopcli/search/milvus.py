"""An index in Milvus, and the exact ranking of its rows.

Milvus chooses candidates by float32 cosines, and they are ranked again as in `vopcli.search.exact`, so the
hits of a search, their scores and order are those of the HDF5 index.

Axes: Q queries, N rows, C candidates, F frames of a row, E joint width.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import Ann
from vopcli.errors import DataError
from vopcli.files.arrays import checksum
from vopcli.index.checksums import frames_checksum, name_hash
from vopcli.index.meta import IndexMeta
from vopcli.index.reader import BANK, FAILED, IndexedVideo
from vopcli.search.engine import Floats, Found
from vopcli.search.exact import Part, search_exact
from vopcli.search.filters import VideoFilter
from vopcli.search.milvus_client import MOST_ROWS, Milvus, key_of, piece_ids, plain_path, signed
from vopcli.search.stores import EngineIndex
from vopcli.video.video_file import WHOLE, KnownVideos, TimeWindow, VideoFile

VERSION: Final = 3
FAILURES: Final = key_of(b"failed")  # the row of notes of failed videos in the second collection
_MORE: Final = 16  # candidates besides the answer, which show that no other row can be part of it
_MARGIN: Final = 1e-4  # of a cosine in float32, see `vopcli.search.exact`
_FOUND: Final = 256  # files in a filter expression
_KEPT_ROWS: Final = 100_000  # in memory
_FRAMES_BYTES: Final = 1 << 24  # read at a time
_SEARCH: Final = {Ann.FLAT: {}, Ann.HNSW: {"ef": 64}, Ann.IVF: {"nprobe": 32}}
STORED: Final = ("root", "path", "size", "mtime_ns", "is_part", "duration_seconds", "num_frames", "num_real")
# JSON of a row: these fields of its video, sha256 (hex), window ([start, end], end null for the whole video),
# the checksums of embedding and frames, and its number in the source
RowDetails = dict[str, Any]


class MilvusIndex(EngineIndex):
    """An index in Milvus; rows are read when they are asked for."""

    def __init__(self, server: Milvus) -> None:
        """Open an index.

        Raises:
            DataError: the index is missing, damaged or of another version, or Milvus does not answer.
        """
        self._server, self.path, self.segments, self.starts = server, Path(server.name), [], [0]
        self.values = server.properties()
        if self.values.get("version") != VERSION:
            raise self.damaged(f"its version is {self.values.get('version')}, not {VERSION}")
        self.meta = IndexMeta.parse(self.path, self.values)
        server.load()
        self.state, self.is_complete = str(self.values["state"]), bool(self.values["is_complete"])
        self._details: dict[int, RowDetails] = {}
        self._failures: dict[int, IndexedVideo] = {}
        self.whole, self._where = self, ""  # a filter expression
        self._embeddings: dict[int, NDArray[np.float32]] = {}  # of the last answer
        names = [name for name in self.values["tensors"] if not name.startswith(BANK)]
        self.text_tensors = {name: self._tensor(name) for name in names}

    @functools.cached_property
    def bank_tensors(self) -> dict[str, NDArray[np.float32]]:  # type: ignore[override]
        """The tensors of the query bank; empty without one."""
        names = [name for name in self.values["tensors"] if name.startswith(BANK)]
        return {name.removeprefix(BANK): self._tensor(name) for name in names}

    @property
    def has_windows(self) -> bool:
        """Whether windows of long videos have rows of their own."""
        return bool(self.values["has_windows"])

    @functools.cached_property
    def num_rows(self) -> int:
        """Number of videos and windows."""
        return self._server.count(self._where)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a video nor a window of one."""
        return not self.num_rows

    @property
    def num_names(self) -> int:
        """Number of videos that have rows, or more in an unfinished index."""
        return len(self) if self.is_complete else self.num_rows

    def __len__(self) -> int:
        """Return the number of videos; windows of long ones do not count."""
        return self._num_videos

    @functools.cached_property
    def _num_videos(self) -> int:
        return self._server.count(" and ".join(filter(None, (self._where, "is_part == false"))))

    @functools.cached_property
    def _order(self) -> list[int]:
        """All rows, in the order in which they were in the source; keeps their details in memory."""
        self._details = {
            row["id"]: json.loads(row["details"]) for row in self._server.scan(["id", "details"])
        }
        return sorted(self._details, key=lambda row: (self._details[row]["number"], row))

    def rows(self) -> Iterator[int]:
        """Yield the row of every video and window."""
        return (row for row, is_chosen in zip(self._order, self.done[0], strict=True) if is_chosen)

    def embedding_checksums(self) -> NDArray[np.uint64]:
        """Return the embedding checksum of every row, in the order of `rows`."""
        return np.array([self._of(row)["embedding_checksum"] for row in self.rows()], np.uint64)

    @functools.cached_property
    def embeddings(self) -> list[NDArray[np.float32]]:  # type: ignore[override]
        """The embeddings (N, E) of all rows of `whole`, in the order of its `rows`."""
        place_of = {row: place for place, row in enumerate(self._order)}
        found = np.zeros((len(place_of), self.meta.embed_dim), np.float32)
        for row in self._server.scan(["id", "embedding"]):
            if row["id"] in place_of:  # added meanwhile
                found[place_of[row["id"]]] = row["embedding"]
        return [found]

    @functools.cached_property
    def done(self) -> list[NDArray[np.bool_]]:  # type: ignore[override]
        """Which of the embeddings count: all, or those of the part."""
        if not self._where:
            return [np.ones(len(self._order), np.bool_)]
        chosen = {row["id"] for row in self._server.scan(["id"], self._where, batch=8192)}
        return [np.array([row in chosen for row in self._order], np.bool_)]

    @property
    def is_video(self) -> list[NDArray[np.bool_]]:  # type: ignore[override]
        """Which rows are videos, not windows."""
        return [np.array([not self._of(row)["is_part"] for row in self._order], np.bool_) & self.done[0]]

    def part(self, where: VideoFilter) -> MilvusIndex:
        """Return the index of the videos that pass a filter.

        Raises:
            DataError: Milvus does not answer.
        """
        begin, end = where.changed_ns
        limits = {
            "duration >= {}": where.longer,
            "duration <= {}": where.shorter,
            "modified >= {}": begin,
            "modified < {}": end,
        }
        tests = [test.format(value) for test, value in limits.items() if value is not None]
        if where.folder:
            tests.append(self._server.in_folder(plain_path(where.folder.casefold())))
        part = copy.copy(self)
        for name in ("num_rows", "_num_videos", "done"):
            part.__dict__.pop(name, None)  # cached
        part._where = " and ".join(tests)
        return part

    def nearest(self, queries: Floats, *, top: int) -> list[Found]:
        """Rank the rows by cosine, as an `Engine`; exact with the vector index "flat".

        Raises:
            DataError: an embedding is damaged, or Milvus does not answer.
        """
        if len(self._details) > _KEPT_ROWS and "_order" not in self.__dict__:
            self._details.clear()
        return [self._nearest(query, top) for query in queries]

    def _nearest(self, query: Floats, top: int) -> Found:
        asked = top + _MORE
        while asked <= MOST_ROWS:
            hits = self._ask(query, asked)
            scores = [hit["distance"] for hit in hits]
            if len(hits) < asked or scores[-1] < scores[top - 1] - _MARGIN:
                self._details |= {hit.id: json.loads(hit["entity"]["details"]) for hit in hits}
                embeddings = np.array([hit["entity"]["embedding"] for hit in hits], np.float32)
                found = [hit.id for hit in hits]
                self._embeddings = dict(zip(found, embeddings, strict=True))
                return self._rank(found, embeddings, query, top)
            asked *= 4  # many rows of nearly equal score
        return self._rank([*self.rows()], self.embeddings[0][self.done[0]], query, top)

    def _ask(self, query: Floats, limit: int) -> Any:
        params = _SEARCH[Ann(self.values["ann"])]
        if "ef" in params:  # at least as many as are asked for
            params = {"ef": max(params["ef"], limit)}
        [hits] = self._server.call(
            "search",
            self._server.collection,
            data=[query],
            limit=limit,
            filter=self._where,
            output_fields=["details", "embedding"],
            search_params={"metric_type": "COSINE", "params": params},
        )
        return hits

    def _rank(self, rows: Sequence[int], embeddings: Floats, query: Floats, top: int) -> Found:
        """Rank candidates (C, E) by exact cosines; of equal score and path, the earlier row comes first."""
        if not len(rows):
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        numbers = [(self._of(row)["number"], row) for row in rows]
        order = sorted(range(len(rows)), key=numbers.__getitem__)
        keys = np.array(rows, np.int64)[order]
        part = Part(embeddings[order], np.ones(len(rows), np.bool_))
        [found] = search_exact(
            [part], query[None], top=top, path_of=lambda place: self.path_of(int(keys[place]))
        )
        return Found(keys[found.rows], found.scores)

    def windows_of(self, row: int, between: tuple[float, float] | None = None) -> list[int]:
        """Return the windows of a row's video in order of time, or the row itself if there are none."""
        if not self.has_windows:
            return [row]
        own = self._of(row)
        where = f"name == {self.name_hash_of(row)}"
        if between:
            where += f" and end > {between[0]} and start < {between[1]}"
        found = []
        for key in self._select(where):
            details = self._details[key]
            if details["is_part"] and all(details[name] == own[name] for name in ("size", "mtime_ns")):
                found.append((details["window"][0], details["number"], key))
        return [key for *_, key in sorted(found)] or [row]

    def span_of(self, row: int) -> tuple[float, float]:
        """Return start and end of a row's window in seconds."""
        window = self.video(row).window
        return window.start_seconds, window.end_seconds

    def name_hash_of(self, row: int) -> int:
        """Return a number that the rows of a video share."""
        details = self._of(row)
        return signed(name_hash(details["path"], details["root"]))

    def video(self, row: int) -> IndexedVideo:
        """Return the video of a row.

        Raises:
            DataError: there is no such row, or Milvus does not answer.
        """
        if row in self._failures:
            return self._failures[row]
        details = self._of(row)
        start, end = details["window"]
        return IndexedVideo(
            row=row,
            window=TimeWindow(start, math.inf if end is None else end),
            sha256=bytes.fromhex(details["sha256"]),
            reason="",
            **{name: details[name] for name in STORED},
        )

    def rows_with(self, status: int) -> list[int]:
        """Return the rows with a status: of failed videos, the ids of their notes."""
        if status != FAILED:
            return []
        for note in self._server.scan(["id", "text"], f"row == {FAILURES}", collection=self._server.frames):
            self._failures[note["id"]] = IndexedVideo(
                row=note["id"], window=WHOLE, **json.loads(note["text"])
            )
        return [*self._failures]

    def find(self, files: Iterable[VideoFile]) -> KnownVideos[IndexedVideo]:
        """Return the videos that have the path or the size of one of ``files``."""
        files = list(files)
        known: KnownVideos[IndexedVideo] = KnownVideos()
        for begin in range(0, len(files), _FOUND):
            part = files[begin : begin + _FOUND]
            paths = json.dumps([plain_path(file.path) for file in part], ensure_ascii=False)
            where = f"path in {paths} or size in {[file.size for file in part]}"
            for video in map(self.video, self._select(where)):
                if video.is_part:
                    known.parts.setdefault(video.path, []).append(video)
                else:
                    known.videos[video.path] = video
        return known

    def frames_of_rows(
        self, rows: Iterable[int]
    ) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float64], int]]:
        """Yield the frames (F, E) of each row, their times (F,), and the number of them without repeats.

        Raises:
            DataError: the frames are damaged, or Milvus does not answer.
        """
        rows = list(rows)
        self._fetch(rows)
        width = 8 + 2 * self.meta.embed_dim
        sizes = [width * self._of(row)["num_frames"] for row in rows]
        at_once = max(_FRAMES_BYTES // max(sizes, default=1), 1)
        for begin in range(0, len(rows), at_once):
            part = slice(begin, begin + at_once)
            for row, content in zip(rows[part], self._contents(rows[part], sizes[part]), strict=True):
                details = self._of(row)
                count = details["num_frames"]
                seconds = np.frombuffer(content[: 8 * count], "<f8")
                frames = np.frombuffer(content[8 * count :], "<f2").reshape(count, -1)
                if frames_checksum(frames, seconds) != details["frames_checksum"]:
                    raise self.damaged(f"the frames of {details['path']} do not match their checksum")
                yield frames, seconds, details["num_real"]

    def embedding_of(self, row: int) -> NDArray[np.float32]:
        """Return the video embedding (E,) of a row.

        Raises:
            DataError: the embedding is damaged, or Milvus does not answer.
        """
        if row not in self._embeddings:
            found = self._server.get(self._server.collection, [row], ["embedding"])
            self._embeddings = {key: np.array(item["embedding"], np.float32) for key, item in found.items()}
        embedding, details = self._embeddings.get(row), self._of(row)
        if embedding is None or checksum(embedding) != details["embedding_checksum"]:
            raise self.damaged(f"the embedding of {details['path']} does not match its checksum")
        return embedding

    def describe(self) -> dict[str, object]:
        """Describe the index as JSON values.

        Raises:
            DataError: Milvus does not answer.
        """
        found = [self.video(row) for row in self.rows()]
        return {
            "kind": "milvus",
            "version": VERSION,
            "path": self._server.name,
            "server": str(self._server.call("get_server_version")),
            "videos": len(self),
            "windows": len(found) - len(self),
            "frames": sum(video.num_real for video in found),
            "duration_seconds": sum(video.duration_seconds for video in found if not video.is_part),
            "is_complete": self.is_complete,
            "vector_index": self.values["ann"],
            **self.meta.attributes(),
        }

    def damaged(self, reason: str) -> DataError:
        """Return the error of a damaged index."""
        hint = f"encode or copy it again: `vop encode SRC {self._server.name} --overwrite`"
        return DataError(f"{self._server.name} is damaged: {reason}", hint=hint)

    def verify_once(self, part: str, cache: Path) -> None:
        """Do nothing: rows are compared with their checksums when they are read."""

    def _tensor(self, name: str) -> NDArray[np.float32]:
        shape, expected = self.values["tensors"][name]
        [content] = self._contents([tensor_key(name)], [4 * math.prod(shape)])
        tensor = np.frombuffer(content, "<f4").reshape(shape)
        if checksum(tensor) != expected:
            raise self.damaged(f"{name} does not match its checksum")
        return tensor

    def _contents(self, rows: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return arrays of the second collection as bytes."""
        ids = [piece_ids(row, size) for row, size in zip(rows, sizes, strict=True)]
        held = self._server.get(self._server.frames, [number for part in ids for number in part], ["text"])
        try:
            contents = [base64.b64decode("".join(held[number]["text"] for number in part)) for part in ids]
        except (KeyError, ValueError) as error:
            raise self.damaged("frames or tensors of the model are missing") from error
        if [len(content) for content in contents] != list(sizes):
            raise self.damaged("frames or tensors of the model are incomplete")
        return contents

    def _select(self, where: str) -> list[int]:
        """Return the rows that a filter expression selects; keeps their details in memory."""
        found = self._server.select(["id", "details"], where)
        self._details |= {item["id"]: json.loads(item["details"]) for item in found}
        return [item["id"] for item in found]

    def _of(self, row: int) -> RowDetails:
        if row not in self._details:
            self._fetch([row])
        return self._details[row]

    def _fetch(self, rows: Sequence[int]) -> None:
        """Read the details of rows."""
        missing = [row for row in rows if row not in self._details]
        found = self._server.get(self._server.collection, missing, ["details"]) if missing else {}
        if len(found) < len(set(missing)):
            raise self.damaged("a row is missing")
        self._details |= {row: json.loads(item["details"]) for row, item in found.items()}


def tensor_key(name: str) -> int:
    """Return the row of a tensor of the model in the second collection."""
    return key_of(b"tensor\0" + name.encode())
