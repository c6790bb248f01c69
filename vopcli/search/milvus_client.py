"""The connection to an index in Milvus: a server, or a folder of Milvus Lite; errors are one line.

An index takes two collections. One has a row per video and window:

    id         hash of path, root and window
    name       hash of path and root, which the rows of a video share
    path       for filters by other programs; bytes that are not UTF-8 are replaced
    is_part    whether it is a window of a video that has a row of its own
    start, end of the window in seconds
    folder     absolute folder of the file, in lower case and with / at its end
    duration   of the video in seconds
    size, modified of the file, in bytes and nanoseconds since 1970
    details    JSON, see `vopcli.search.milvus.RowDetails`
    state      checksum of the details
    embedding  (E,) float32

The other, with "_frames" after its name, holds arrays too long for a field: the times and frame embeddings of
each row, and the tensors of the model, as pieces of Base64 text; and a row of JSON per video that failed. A
best match compares the frames of 1,000 rows, which takes several times as long for vectors of single frames.
Milvus requires a vector in each row: [1, 0].
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from vopcli.config.choices import Ann
from vopcli.errors import DataError, UsageError
from vopcli.files.arrays import checksum

_SERVER: Final = re.compile(r"milvus:/{1,2}(?P<address>[^/:]+:\d+)/(?P<collection>[A-Za-z_]\w{0,199})")
_SCHEME: Final = "milvus:"
_LITE_COLLECTION: Final = "vop"
_PROPERTY: Final = "vop."  # before the names of the properties of a collection, each JSON
TEXT_LENGTH: Final = 65_532  # of a piece: the most that Milvus takes, in whole groups of Base64
MOST_ROWS: Final = 16_384  # in one answer
_UPSERTED: Final = 256  # rows of a call
_DELETED: Final = 1024
_OPEN_SECONDS: Final = 3
_CALL_SECONDS: Final = 30  # of a server that is busy; one that is gone is an error at once
_LOAD_SECONDS: Final = 120
LONG_SECONDS: Final = 3600  # to build an index; and of Milvus Lite, which runs in this process
# "Strong" waits for all that was written before, 0.2 s and more; later reads see at least as much without
# waiting, apart from a replica that is behind, whose missing rows are asked for again
_FIRST: Final = {"consistency_level": "Strong"}
_LATER: Final = {"consistency_level": "Bounded"}
_ANN: Final[dict[Ann, dict[str, Any]]] = {
    Ann.FLAT: {},
    Ann.HNSW: {"M": 32, "efConstruction": 200},
    Ann.IVF: {"nlist": 1024},
}
_ANN_NAMES: Final = {Ann.FLAT: "FLAT", Ann.HNSW: "HNSW", Ann.IVF: "IVF_FLAT"}
_FRAME_FIELDS: Final = {"id", "row", "text", "embedding"}


class Milvus:
    """A connection to the collections of one index.

    Attributes:
        name: of the index, for messages.
        is_server: whether it is a server, not a folder.
    """

    def __init__(self, name: Path) -> None:
        """Parse a name; connects on the first call.

        Raises:
            UsageError: the name is malformed, or pymilvus or milvus-lite is not installed.
        """
        found = _SERVER.fullmatch(str(name))
        self.is_server = found is not None
        self.name, self.collection = str(name), _LITE_COLLECTION
        self._uri = self.name.removeprefix(_SCHEME)
        if found:
            self.collection = found["collection"]
            self.name = f"milvus://{found['address']}/{self.collection}"
            self._uri = f"http://{found['address']}"
        elif not self._uri.endswith(".db") or self._uri == ".db" or self._uri.startswith("//"):
            raise UsageError(
                f"{name} is not the name of a Milvus index",
                hint="write milvus:FILE.db, or milvus://HOST:PORT/COLLECTION",
            )
        self.frames = f"{self.collection}_frames"
        self._client: Any = None
        self._has_read = False  # since the last write
        try:
            import grpc
            import pymilvus

            if not found:
                import milvus_lite  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"an index in Milvus needs {error.name}, which is not installed",
                hint="run `pip install 'vopcli[milvus]'`",
            ) from error
        for library in ("pymilvus", "milvus_lite"):  # they log each error that is raised
            logging.getLogger(library).setLevel(logging.CRITICAL)
        self._package = pymilvus
        self._errors = (pymilvus.MilvusException, grpc.RpcError)

    def call(self, method: str, *args: Any, seconds: float = _CALL_SECONDS, **options: Any) -> Any:
        """Call a method of the client.

        Args:
            method: its name.
            args: its arguments.
            seconds: time until a server that does not answer is an error.
            options: its keyword arguments.

        Raises:
            DataError: Milvus reports an error, or does not answer in time.
        """
        try:
            if self._client is None:
                self._client = self._connect()
            is_read = method in {"query", "search"}
            if is_read:
                options |= _LATER if self._has_read else _FIRST
            timeout = seconds if self.is_server else LONG_SECONDS
            found = getattr(self._client, method)(*args, timeout=timeout, **options)
            self._has_read = is_read or (self._has_read and method not in {"upsert", "delete"})
            return found
        except self._errors as error:
            raise self._failed(error) from error

    def _connect(self) -> Any:
        options: dict[str, Any]
        if not self.is_server:
            Path(self._uri).parent.mkdir(parents=True, exist_ok=True)
            # in this process, no pings are needed: an idle connection would be closed for too many
            options = {"grpc_options": {"grpc.keepalive_time_ms": 2**31 - 1}}
        else:
            options = {"token": os.environ.get("MILVUS_TOKEN", "")}
        return self._package.MilvusClient(uri=self._uri, timeout=_OPEN_SECONDS, **options)

    def _failed(self, error: Any) -> DataError:
        text = error.message if hasattr(error, "message") else error.details()
        reason = str(text).partition("\n")[0] or type(error).__name__
        hint = "check the address, and that the server runs" if self.is_server else ""
        if not self.is_server and self._client is None:
            hint = "is it in use by another process?"
        return DataError(f"{self.name}: Milvus reports: {reason}", hint=hint)

    def exists(self) -> bool:
        """Whether the index exists; False without creating a folder of Milvus Lite.

        Raises:
            DataError: Milvus does not answer.
        """
        if not self.is_server and not Path(self._uri).exists():
            return False
        return bool(self.call("has_collection", self.collection, seconds=_OPEN_SECONDS))

    def properties(self) -> dict[str, Any]:
        """Return the description of the index.

        Raises:
            DataError: the index is missing, or the collection belongs to another program.
        """
        if not self.exists():
            raise DataError(
                f"{self.name} does not exist", hint=f"create it with `vop encode SRC {self.name}`"
            )
        held = self.call("describe_collection", self.collection).get("properties") or {}
        names = [name for name in held if name.startswith(_PROPERTY)]
        found = {name.removeprefix(_PROPERTY): json.loads(held[name]) for name in names}
        if not found:
            raise DataError(f"{self.name} is not an index of vop", hint="name another collection")
        return found

    def load(self) -> None:
        """Wait until the collections can be read: a server that was restarted loads them later."""
        for collection in (self.collection, self.frames):
            self.call("load_collection", collection, seconds=_LOAD_SECONDS)

    def describe(self, values: Mapping[str, Any]) -> None:
        """Change values of the description; others may be changed by another process."""
        self.call("alter_collection_properties", self.collection, _as_properties(values))

    def create(
        self, width: int, values: Mapping[str, Any], ann: Ann, pieces: Sequence[dict[str, Any]]
    ) -> None:
        """Create the collections; remains of an earlier attempt are dropped.

        Args:
            width: of an embedding.
            values: the description.
            ann: the vector index.
            pieces: rows of the second collection, which is complete before the index exists.

        Raises:
            DataError: another program has a collection of the name that the frames need.
        """
        if self.call("has_collection", self.frames):
            fields = self.call("describe_collection", self.frames)["fields"]
            if {field["name"] for field in fields} != _FRAME_FIELDS:
                raise DataError(
                    f"{self.name} needs the collection {self.frames}, which belongs to another program",
                    hint="name another collection",
                )
        self.drop()
        text = {"datatype": self._package.DataType.VARCHAR, "max_length": 65_535}
        whole = {"datatype": self._package.DataType.INT64}
        real = {"datatype": self._package.DataType.DOUBLE}
        vector = {"datatype": self._package.DataType.FLOAT_VECTOR}
        self._create(self.frames, {"row": whole, "text": text, "embedding": vector | {"dim": 2}}, Ann.FLAT)
        self.upsert(self.frames, pieces)
        fields = dict.fromkeys(("name", "state", "size", "modified"), whole)
        fields |= dict.fromkeys(("path", "folder", "details"), text)
        fields |= dict.fromkeys(("start", "end", "duration"), real)
        fields["is_part"] = {"datatype": self._package.DataType.BOOL}
        fields["embedding"] = vector | {"dim": width}
        self._create(self.collection, fields, ann, _as_properties(values))  # last: now it exists

    def _create(
        self, collection: str, fields: Mapping[str, Any], ann: Ann, properties: dict[str, str] | None = None
    ) -> None:
        schema = self._package.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", self._package.DataType.INT64, is_primary=True)
        for name, options in fields.items():
            schema.add_field(name, **options)
        self.call(
            "create_collection",
            collection,
            schema=schema,
            index_params=self._index_params(ann),
            properties=properties or {},
            consistency_level="Strong",
            seconds=LONG_SECONDS,
        )

    def _index_params(self, ann: Ann) -> Any:
        params = self._package.MilvusClient.prepare_index_params()
        options = {"index_type": _ANN_NAMES[ann], "metric_type": "COSINE", "params": _ANN[ann]}
        params.add_index("embedding", index_name="embedding", **options)
        return params

    def build(self, ann: Ann) -> None:
        """Build a vector index in place of another; one that an interrupted run began is waited for."""
        names = self.call("list_indexes", self.collection)
        held = names and self.call("describe_index", self.collection, "embedding")["index_type"]
        self.describe({"ann": ann.value})  # first, so that any copy can build what is missing
        if held != _ANN_NAMES[ann]:
            self.call("release_collection", self.collection)
            if held:
                self.call("drop_index", self.collection, "embedding")
            self.call("create_index", self.collection, self._index_params(ann), seconds=LONG_SECONDS)
        self.call("load_collection", self.collection, seconds=LONG_SECONDS)

    def drop(self) -> None:
        """Drop the collections that exist."""
        for collection in (self.collection, self.frames):
            if self.call("has_collection", collection):
                self.call("drop_collection", collection)

    def count(self, where: str = "") -> int:
        """Return the number of rows that a filter expression selects."""
        found = self.call("query", self.collection, filter=where, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def scan(
        self, fields: Sequence[str], where: str = "", *, batch: int = 2048, collection: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows that a filter expression selects, by default of the first collection."""
        name = collection or self.collection
        iterator = self.call("query_iterator", name, filter=where, batch_size=batch, output_fields=[*fields])
        try:
            while found := iterator.next():
                yield from found
        except self._errors as error:
            raise self._failed(error) from error
        finally:
            iterator.close()

    def select(self, fields: Sequence[str], where: str) -> Sequence[dict[str, Any]]:
        """Return the rows that a filter expression selects, in one call if they are few."""
        options: dict[str, Any] = {"filter": where, "limit": MOST_ROWS, "output_fields": [*fields]}
        found: Sequence[dict[str, Any]] = self.call("query", self.collection, **options)
        return found if len(found) < MOST_ROWS else list(self.scan(fields, where))

    def in_folder(self, text: str) -> str:
        """Return the filter expression of the rows whose folder contains a text."""
        like = f"folder like {json.dumps(f'%{text}%', ensure_ascii=False)}"
        if not set('%_"\\') & set(text):  # not all versions can escape them
            with contextlib.suppress(DataError):  # of a server before 2.4
                self.count(like)
                return like
        found = sorted({row["folder"] for row in self.scan(["folder"]) if text in row["folder"]})
        return f"folder in {json.dumps(found or [''], ensure_ascii=False)}"

    def upsert(self, collection: str, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows; those of the same ids are replaced."""
        for begin in range(0, len(rows), _UPSERTED):
            self.call("upsert", collection, data=rows[begin : begin + _UPSERTED])

    def delete(self, collection: str, field: str, values: Sequence[int]) -> None:
        """Delete the rows that have one of the values in a field."""
        for begin in range(0, len(values), _DELETED):
            where = f"{field} in {[*values[begin : begin + _DELETED]]}"
            self.call("delete", collection, filter=where)

    def get(self, collection: str, ids: Sequence[int], fields: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Return rows by their ids, those that exist."""
        found: dict[int, dict[str, Any]] = {}
        for begin in range(0, len(ids), 1024):
            part = ids[begin : begin + 1024]
            for is_again in (False, True):
                if part := [number for number in part if number not in found]:
                    self._has_read = self._has_read and not is_again
                    rows = self.call("query", collection, ids=part, output_fields=["id", *fields])
                    found |= {row["id"]: row for row in rows}
        return found


def _as_properties(values: Mapping[str, Any]) -> dict[str, str]:
    return {_PROPERTY + name: json.dumps(value) for name, value in values.items()}


def piece_ids(row: int, num_bytes: int) -> list[int]:
    """Return the ids of the pieces of an array."""
    num_pieces = -(-num_bytes // (TEXT_LENGTH // 4 * 3))
    return [
        key_of(row.to_bytes(8, "little", signed=True) + bytes([0]) + b"%d" % i) for i in range(num_pieces)
    ]


def pieces_of(row: int, content: bytes) -> list[dict[str, Any]]:
    """Return the rows of the second collection that hold an array."""
    text = base64.b64encode(content).decode("ascii")
    return [
        piece_of(row, number, text[place * TEXT_LENGTH : (place + 1) * TEXT_LENGTH])
        for place, number in enumerate(piece_ids(row, len(content)))
    ]


def piece_of(row: int, number: int, text: str) -> dict[str, Any]:
    """Return a row of the second collection."""
    return {"id": number, "row": row, "text": text, "embedding": np.array([1, 0], np.float32)}


def key_of(content: bytes) -> int:
    """Return a 64-bit hash as a signed number."""
    return signed(checksum(np.frombuffer(content, np.uint8)))


def signed(number: int) -> int:
    """Return a 64-bit hash, which may be signed already, as the signed number that Milvus takes."""
    return int(np.uint64(number & 0xFFFF_FFFF_FFFF_FFFF).view(np.int64))


def plain_path(path: str) -> str:
    """Replace the bytes of a name that are not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
