"""Videos on S3-compatible storage: outputs and messages equal those for a folder; no copies remain.

Most are slow only for loading the server and clients of S3.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support import encoding, extracting
from tests.support.s3 import BUCKET, environment, s3_server, upload
from tests.support.videos import make_video
from vopcli.config.schema import DataConfig
from vopcli.errors import StorageError, VideoError
from vopcli.files import s3
from vopcli.files.s3 import S3Path, absolute_file, is_remote, list_objects, local_copy, named_path
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.frames.store import FrameStore
from vopcli.index.reader import VideoIndex
from vopcli.progress import SilentProgress
from vopcli.search.query import find_row
from vopcli.search.search import open_index
from vopcli.video.find_videos import find_videos
from vopcli.video.pool import DecodeJob, scan_videos
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import stated_duration
from vopcli.video.windows import parse_windows

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with s3_server() as client:
        yield client


@pytest.fixture
def bucket(server: Any) -> Iterator[Any]:
    """A client of the server, whose bucket is empty."""
    for item in server.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        server.delete_object(Bucket=BUCKET, Key=item["Key"])
    with environment(AWS_ENDPOINT_URL=server.meta.endpoint_url, **KEYS):
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extracting.make_videos(tmp_path_factory.mktemp("made"))


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """A folder of temporary files that only this test uses."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path / "temporary")
    (tmp_path / "temporary").mkdir()
    yield tmp_path / "temporary"
    tempfile.tempdir = before


def test_names_keep_both_slashes() -> None:
    for written in ("s3://films/a b/ü.mp4", Path("s3://films/a b/ü.mp4")):
        path = named_path(written)
        assert is_remote(written)
        assert isinstance(path, S3Path)
        assert str(path) == os.fspath(path) == absolute_file(os.fspath(written)) == "s3://films/a b/ü.mp4"
        assert (path.name, path.suffix, path.as_uri()) == ("ü.mp4", ".mp4", "s3://films/a%20b/%C3%BC.mp4")
    assert not is_remote("/films/s3:/a.mp4")
    assert type(named_path("a.mp4")) is type(Path())


@pytest.mark.slow
def test_objects_are_found_by_the_rules_of_folders(bucket: Any, tmp_path: Path) -> None:
    names = ["b.mp4", "a/z.MKV", "a b.avi", "é.mov", "a/.hidden/c.mp4", ".d.mp4", "x/@eaDir/e.mp4", "f.txt"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"video")
    folder = tmp_path / "in"
    upload(bucket, folder, "in")
    for key in ("in/a/", "inner/g.mp4", "in//h.mp4"):
        bucket.put_object(Bucket=BUCKET, Key=key, Body=b"")
    problems: list[tuple[str, str]] = []

    def found(*sources: Path) -> list[tuple[str, str, int]]:
        videos = find_videos(sources, lambda *problem: problems.append(problem))
        return [(video.root, video.path, video.size) for video in videos]

    expected = [path for _, path, _ in found(folder)]
    assert expected == ["a b.avi", "a/z.MKV", "b.mp4", "é.mov"]
    assert found(Path("s3://films/in/")) == [("s3://films/in", path, 5) for path in expected]
    assert problems == [("s3://films/in//h.mp4", "has a folder without a name in its key")]
    assert found(Path("s3://films/in/f.txt")) == [("s3://films/in", "f.txt", 5)]
    assert len(found(Path("s3://films"))) == 5
    assert len(found(Path("s3://films/in/b.mp4"), Path("s3://films/in"))) == 4


@pytest.mark.slow
def test_another_content_of_the_same_second_is_another_file(bucket: Any) -> None:
    found = []
    for content in (b"one", b"two", b"one"):
        bucket.put_object(Bucket=BUCKET, Key="a.mp4", Body=content)
        found += list_objects(S3Path("s3://films/a.mp4"))
    (one, two, again), times = found, [item.mtime_ns % 10**9 for item in found]
    assert (one.path, one.size) == ("a.mp4", 3)
    assert times[0] == times[2] != times[1]
    assert abs(again.mtime_ns - two.mtime_ns) < 60 * 10**9


@pytest.mark.slow
def test_a_store_is_as_from_the_folder_and_follows_the_bucket(
    bucket: Any, made: Path, tmp_path: Path, temporary: Path
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "videos"))
    source, near, far = S3Path(upload(bucket, folder, "v")), tmp_path / "near.h5", tmp_path / "far.h5"
    extracting.run(folder, near)
    assert extracting.counts(extracting.run(source, far)) == {"num_new": 4}
    assert extracting.contents(far) == extracting.contents(near)
    hashes = [{video.path: video.sha256 for video in FrameStore.open(path).videos} for path in (near, far)]
    assert hashes[0] == hashes[1]
    assert extracting.counts(extracting.run(source, far)) == {"num_unchanged": 4}

    extracting.make_bad_video(folder)
    (folder / "2.avi").write_bytes((folder / "sub/3.avi").read_bytes())
    (folder / "0.avi").rename(folder / "new.avi")
    for name in ("text.mp4", "2.avi", "new.avi"):
        bucket.upload_file(str(folder / name), BUCKET, f"v/{name}")
    bucket.delete_object(Bucket=BUCKET, Key="v/0.avi")
    again = extracting.run(source, far)
    assert extracting.counts(again) == {"num_new": 1, "num_changed": 1, "num_unchanged": 2}
    [(path, reason)] = again.failed
    assert (path, again.exit_code) == ("text.mp4", 4)
    assert reason.startswith("not a video that can be read")
    found = extracting.contents(far)
    assert found["new.avi"] == found["0.avi"] == extracting.contents(near)["0.avi"]
    assert found["2.avi"] == found["sub/3.avi"]
    assert list(temporary.iterdir()) == []


class _WithoutKeys(SilentProgress):
    """Drops the credentials when the first video is done."""

    def task(self, title: str, *, total: int | None, unit: str) -> SilentProgress:
        del total, unit
        return self if title == "decode" else SilentProgress()

    def advance(self, amount: int = 1) -> None:
        del amount
        os.environ["AWS_ACCESS_KEY_ID"] = ""
        s3.s3_client.cache_clear()


@pytest.mark.slow
def test_a_run_that_loses_its_access_ends_and_is_continued(bucket: Any, made: Path, tmp_path: Path) -> None:
    """None of the videos that it did not come to has failed."""
    source, near, far = S3Path(upload(bucket, made)), tmp_path / "near.h5", tmp_path / "far.h5"
    request = ExtractRequest([source], far, DataConfig(size=32, workers=0))
    with (
        environment(AWS_ENDPOINT_URL=bucket.meta.endpoint_url, **KEYS),
        pytest.raises(StorageError, match=r"2.avi: no access to S3 \(Unable to locate credentials\)$"),
    ):
        extract(request, _WithoutKeys())
    summary = extract(request, SilentProgress())
    assert (summary.num_new, summary.num_unchanged, summary.failed) == (3, 1, [])
    extracting.run(made, near)
    assert extracting.contents(far) == extracting.contents(near)


@pytest.mark.slow
def test_an_index_is_as_from_the_folder(bucket: Any, made: Path, tmp_path: Path, weights: Path) -> None:
    index, near = tmp_path / "i.h5", tmp_path / "near.h5"
    request = encoding.request_for(S3Path(upload(bucket, made)), index, weights)
    assert encoding.run(request).num_new == 4
    assert encoding.run(request).num_unchanged == 4
    encoding.run(replace(request, sources=[made], index=near))
    assert encoding.contents(index) == encoding.contents(near)
    hits = open_index(index).search("a dog")
    assert {str(hit.file) for hit in hits} == {f"s3://films/{name}" for name in extracting.NAMES}
    assert not any(hit.is_missing for hit in hits)
    assert find_row(VideoIndex(index), "s3://films/sub/1.avi") is not None
    bucket.delete_object(Bucket=BUCKET, Key="0.avi")
    pruned = encoding.run(replace(request, prune=True))
    assert (pruned.num_pruned, pruned.num_videos) == (1, 3)


@pytest.mark.slow
def test_a_copy_is_there_while_it_is_used(bucket: Any, made: Path, temporary: Path) -> None:
    """Copies of killed processes are removed, and those in use are not."""
    upload(bucket, made)
    left = temporary / "vop-s3-left.avi"
    left.write_bytes(b"of a killed process")
    with local_copy("s3://films/0.avi") as one:
        assert not left.exists()
        with local_copy("s3://films/2.avi") as two:
            assert Path(one).read_bytes() == (made / "0.avi").read_bytes()
            assert Path(two).suffix == ".avi"
        with (
            pytest.raises(VideoError, match=r"^s3://films/0.avi: too dark$"),
            local_copy("s3://films/0.avi") as three,
        ):
            raise VideoError(f"{three}: too dark")
        assert [str(path) for path in temporary.iterdir()] == [one]
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_header_is_read_without_the_rest(
    bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one at the end of the file, behind more bytes than one request takes."""
    make_video(tmp_path / "a.mp4", num_frames=50)
    content = (tmp_path / "a.mp4").read_bytes()
    at = content.index(b"mdat") - 4
    size = int.from_bytes(content[at : at + 4], "big")
    unused = (6 << 20).to_bytes(4, "big") + b"free" + bytes((6 << 20) - 8)
    long = content[: at + size] + unused + content[at + size :]
    bucket.put_object(Bucket=BUCKET, Key="long/a.mp4", Body=long)
    assert stated_duration("s3://films/long/a.mp4") == stated_duration(str(tmp_path / "a.mp4")) == 2.0
    assert 2 <= caplog.text.count("GET /films/long/a.mp4") <= 4
    files = ("s3://films/long/a.mp4", str(tmp_path / "a.mp4"))
    far, near = scan(*files)
    assert far == near


def scan(*files: str) -> list[Any]:
    """Count the frames of windows, as a worker does; return them, or the errors."""
    jobs = [DecodeJob(key, file, None) for key, file in enumerate(files)]
    return [
        found for _, found in scan_videos(jobs, parse_sampling("uniform:4"), parse_windows("1"), workers=0)
    ]


class _Refusing(BaseHTTPRequestHandler):
    """Answers a request with the error that the name of the object is, or with a part of an object."""

    def do_GET(self) -> None:
        code = self.path.rpartition("/")[2].partition("?")[0]
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(200 if code == "part" else 400)
        self.send_header("Content-Length", str(1000 if code == "part" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def _refusing_server() -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        with environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}", **KEYS):
            yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("_refusing_server")
def test_an_object_that_is_refused_fails_alone() -> None:
    problems = {
        "NoSuchKey": "does not exist",
        "AccessDenied": "access denied",
        "InvalidObjectState": "is archived",
        "InvalidRange": "the file is empty",
    }
    expected = [f"s3://films/{code}: {problem}" for code, problem in problems.items()]
    assert [str(result) for result in scan(*(f"s3://films/{code}" for code in problems))] == expected


@pytest.mark.usefixtures("_refusing_server")
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "NoSuchBucket"])
def test_a_refusal_of_all_objects_ends_the_run(code: str) -> None:
    with pytest.raises(StorageError, match=rf"no access to S3 \({code}: "):
        scan(f"s3://films/{code}")


@pytest.mark.usefixtures("_refusing_server")
def test_a_connection_that_breaks_off_is_an_error(temporary: Path) -> None:
    with pytest.raises(StorageError, match="total bytes expected is 1000"), local_copy("s3://films/part"):
        pass
    assert list(temporary.iterdir()) == []


EXTRACT = ("extract-frames", "s3://films", "o.h5")
COMMANDS: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
    (("extract-frames", "s3://films/none", "o.h5"), {}, 3, "s3://films/none does not exist"),
    (
        ("extract-frames", "s3://none/a", "o.h5"),
        {},
        3,
        "s3://none/a: no access to S3 (NoSuchBucket: there is no bucket none)",
    ),
    (
        ("extract-frames", "s3://A_!/a", "o.h5"),
        {},
        3,
        "s3://A_!/a: no access to S3 (Parameter validation failed: ",
    ),
    (("encode", "s3://films/a"), {}, 2, "no index is named: s3://films/a, the last name, is on S3"),
    (EXTRACT, {"AWS_ENDPOINT_URL": "x"}, 3, "s3://films: no access to S3 (Invalid endpoint: x)"),
    (
        EXTRACT,
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        3,
        'connect to the endpoint URL: "http://127.0.0.1:9/films")',
    ),
    (EXTRACT, {"AWS_PROFILE": "x"}, 3, "The config profile (x) could not be found"),
    (EXTRACT, {"AWS_ACCESS_KEY_ID": ""}, 3, "(Unable to locate credentials)"),
    (("search", "a dog", "s3://films"), {}, 2, "s3://films is on S3, and is encoded by `vop encode` only"),
    (("serve", "--watch", "s3://films"), {}, 2, "s3://films is on S3, and is encoded by `vop encode` only"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "variables", "code", "problem"), COMMANDS)
def test_errors_are_one_line(
    server: Any, arguments: tuple[str, ...], variables: dict[str, str], code: int, problem: str
) -> None:
    with environment(**{"AWS_ENDPOINT_URL": server.meta.endpoint_url, **KEYS, **variables}):
        done, out, err = extracting.told(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith("Usage: ")]
    assert (done, out, len(lines)) == (code, "", 2)
    assert problem in lines[0]
    assert len(lines[0]) < 300
    assert lines[1].startswith("Hint: ")
    assert not Path("o.h5").exists()


@pytest.mark.parametrize("command", ["extract-frames", "encode"])
def test_a_missing_package_is_named_before_any_work(command: str) -> None:
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "boto3"}
    sys.modules["boto3"] = None  # type: ignore[assignment]
    try:
        done, _, err = extracting.told(command, "s3://films", "out.h5")
    finally:
        del sys.modules["boto3"]
        sys.modules.update(loaded)
    assert done == 2
    assert err.splitlines() == [
        "Error: s3:// needs boto3, which is not installed",
        'Hint: run `pip install "vopcli[s3]"`',
    ]
    assert not Path("out.h5").exists()
