"""The application: routes, and the responses to their requests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vopcli.errors import BusyError, UsageError, VideoError, VopError
from vopcli.index.reader import IndexedVideo, VideoIndex
from vopcli.index.thumbnails import read_thumbnail
from vopcli.resources import __version__, cache_folder, usable_cores
from vopcli.search.search import Index
from vopcli.web.answer import ServedHit, find_answers
from vopcli.web.clips import ClipCache, parse_range
from vopcli.web.export import export_hits, parse_choice
from vopcli.web.frames import FrameCache
from vopcli.web.gate import CrowdedError, Gate
from vopcli.web.guard import Guard
from vopcli.web.page import draw_page
from vopcli.web.pictures import MAX_UPLOAD_BYTES, Pictures
from vopcli.web.question import Question, parse_question
from vopcli.web.served import ServedIndex, check_unchanged, find_video
from vopcli.web.watch import Watcher

_STATIC: Final = Path(__file__).parent / "static"
_UPLOAD_SECONDS: Final = 30
_MOST_STRIP: Final = 9  # frames that one request may name
_KEPT: Final = {"cache-control": "private, max-age=86400"}
_MEDIA_TYPES: Final = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm",
    ".mkv": "video/x-matroska", ".ogv": "video/ogg", ".avi": "video/x-msvideo", ".3gp": "video/3gpp",
}  # fmt: skip


@dataclass
class Site:
    """The state of a server.

    Attributes:
        indexes: the indexes, by their numbers.
        top: number of hits unless a request names one.
        log: receives a line for each search and each failure.
        log_queries: write queries to the log.
        cache: folder of derived files.
        watcher: keeps the first index up to date; None: only other programs change it.
    """

    indexes: Sequence[ServedIndex]
    top: int
    log: Callable[[str], None]
    log_queries: bool = False
    cache: Path = field(default_factory=cache_folder)
    watcher: Watcher | None = None

    def __post_init__(self) -> None:
        self.models = Gate(running=min(4, usable_cores()), waiting=8)  # calls of the model
        self.frames = FrameCache(self.cache / "frames", Gate(running=2, waiting=200))
        self.clips = ClipCache(self.cache / "clips", Gate(running=1, waiting=8))
        self.exports = Gate(running=1, waiting=4)
        self.pictures, self.uploads = Pictures(), Gate(running=2, waiting=8)

    async def fresh(self) -> dict[int, Index]:
        """Return the current state of each index, by number."""
        return {number: await served.fresh() for number, served in enumerate(self.indexes)}

    def no_confidence(self, question: Question) -> VopError | None:
        """Return why the hits of a question, or some of them, have no confidence."""
        if question.has_examples:
            return UsageError("only texts have one", hint="omit max_false, or the picture")
        return next(filter(None, (served.no_confidence for served in self.indexes)), None)

    async def find(self, question: Question) -> list[ServedHit]:
        """Return the hits of a question.

        Raises:
            UsageError: the question is empty or cannot be answered, or asks for a confidence that hits lack.
            DataError: an index or its model is damaged or missing.
            CrowdedError: too many searches are waiting.
        """
        if question.is_empty:
            raise UsageError("the query is empty", hint="give q, like or picture")
        began, indexes = time.perf_counter(), await self.fresh()
        if question.like and question.like[0] not in indexes:
            raise UsageError("the frame is of an index that is not served", hint="search again")
        reason = self.no_confidence(question)
        if question.max_false is not None and reason:
            raise UsageError(f"the hits have no confidence: {reason}", hint=reason.hint)
        answers = await self.models.run(find_answers, indexes, question, self.pictures.pixels)
        shown = f" for {question.to_dict()}" if self.log_queries else ""
        self.log(f"{len(answers)} hits in {1000 * (time.perf_counter() - began):.0f} ms{shown}")
        return answers

    def videos(self, number: int) -> VideoIndex:
        """Return the rows of an index.

        Raises:
            HTTPException: there is no index of this number.
        """
        if number >= len(self.indexes):
            raise HTTPException(404)
        return self.indexes[number].index.videos

    def video(self, request: Request, row: int) -> IndexedVideo:
        """Return the video of a row of the index that a request names.

        Raises:
            HTTPException: the index has no such video, or no longer.
        """
        video = find_video(self.videos(request.path_params["index"]), row, request.query_params.get("v"))
        if video is None:
            raise HTTPException(404, "no such video; if the index has changed, search again")
        return video


class PlainJSON(JSONResponse):
    """JSON in ASCII: names of files may have bytes that are not UTF-8."""

    def render(self, content: Any) -> bytes:
        """Return the bytes to send."""
        return json.dumps(content, allow_nan=False).encode("ascii")


def create_app(site: Site, *, hosts: Sequence[str] = (), token: str | None = None) -> Guard:
    """Return the application.

    Args:
        site: the indexes and the settings.
        hosts: see `Guard`.
        token: see `Guard`.
    """
    routes = [
        Route("/", partial(_page, site)),
        Route("/api/search", partial(_search, site, moments=False)),
        Route("/api/moments", partial(_search, site, moments=True)),
        Route("/api/info", partial(_info, site)),
        Route("/openapi.json", partial(_static, "openapi.json")),
        Route("/healthz", _health),
        Route("/video/{index:int}/{row:int}", partial(_video, site)),
        Route("/export", partial(_export, site)),
        Route("/clip/{index:int}/{row:int}", partial(_clip, site)),
        Route("/frame/{index:int}/{row:int}/{number:int}", partial(_frame, site)),
        Route("/pictures", partial(_upload, site), methods=["POST"]),
        Route("/pictures/{name:str}", partial(_picture, site)),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    on_error: Any = partial(_on_error, site)
    handlers = {VopError: on_error, CrowdedError: on_error, HTTPException: on_error}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), hosts=hosts, token=token)


async def _page(site: Site, request: Request) -> Response:
    began, question, answers = time.perf_counter(), parse_question({}, top=site.top), []
    error: tuple[str, str] | None = None
    status, headers = 200, dict[str, str]()
    try:
        question = parse_question(dict(request.query_params), top=site.top)
        if not question.is_empty:
            answers = await site.find(question)
    except (VopError, CrowdedError) as failure:
        error = describe_error(failure)
        status, headers = _status_of(site, failure)
    seconds = time.perf_counter() - began
    indexes = [served.index for served in site.indexes]
    watching = site.watcher.state if site.watcher else None
    page = draw_page(
        indexes,
        question,
        answers,
        seconds=seconds,
        error=error,
        no_confidence=site.no_confidence(question),
        watching=watching,
    )
    return Response(page, status, headers, "text/html")


async def _search(site: Site, request: Request, *, moments: bool) -> Response:
    question = parse_question(dict(request.query_params), top=site.top, moments=moments)
    answers = await site.find(question)
    reason = site.no_confidence(question)
    return PlainJSON(
        {
            "query": question.to_dict(),
            "no_confidence": reason and str(reason),
            "hits": [answer.to_dict() for answer in answers],
        }
    )


async def _info(site: Site, request: Request) -> Response:
    indexes = await site.fresh()
    documents = [
        {
            "index": number,
            "path": str(index.path),
            "videos": len(index),
            "ranking": index.rule,
            "norm": index.norm.value,
            **index.videos.meta.attributes(),
        }
        for number, index in indexes.items()
    ]
    watching = None
    if site.watcher:
        watching = {"folder": os.fspath(site.watcher.folder), "state": site.watcher.state}
    return PlainJSON({"version": __version__, "indexes": documents, "watching": watching})


async def _static(name: str, request: Request) -> Response:
    return FileResponse(_STATIC / name)


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _video(site: Site, request: Request) -> Response:
    video = site.video(request, request.path_params["row"])
    file = await anyio.to_thread.run_sync(check_unchanged, video)
    return FileResponse(file, media_type=_MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream"))


async def _export(site: Site, request: Request) -> Response:
    values = dict(request.query_params)
    form, ranks = parse_choice(values, request.query_params.getlist("pick"))
    asked = {name: value for name, value in values.items() if name not in {"format", "pick"}}
    question = parse_question(asked, top=site.top)
    hits = [answer.hit for answer in await site.find(question) if not ranks or answer.hit.rank in ranks]
    content = await site.exports.run(export_hits, question.text or "vop", hits, form)
    headers = {"content-disposition": f'attachment; filename="hits{form}"'}
    kind = "image/jpeg" if form == ".jpg" else "text/plain; charset=utf-8"
    return Response(content, 200, headers, kind)


async def _clip(site: Site, request: Request) -> Response:
    video = site.video(request, request.path_params["row"])
    file = await site.clips.cut(video, *parse_range(request.query_params))
    return FileResponse(file, media_type="video/mp4", headers=_KEPT)


async def _frame(site: Site, request: Request) -> Response:
    row, number = request.path_params["row"], request.path_params["number"]
    videos, video = site.videos(request.path_params["index"]), site.video(request, row)
    if number >= video.num_frames:
        raise HTTPException(404)
    if (thumbnail := read_thumbnail(videos, row, number)) is not None:
        return Response(thumbnail, 200, _KEPT, "image/jpeg")
    _, seconds = videos.frames_of(row)
    others = _times_of_strip(videos, video, request.query_params.get("of", ""))
    return Response(await site.frames.jpeg(video, float(seconds[number]), others), 200, _KEPT, "image/jpeg")


def _times_of_strip(videos: VideoIndex, video: IndexedVideo, listed: str) -> list[float]:
    """Return the times of frames named like 17.3-17.9-18.0, as far as they are of the same video."""
    times = []
    for part in listed.split("-")[:_MOST_STRIP]:
        row, _, number = part.partition(".")
        if not (row.isdecimal() and number.isdecimal() and len(part) < 20):
            continue
        other = find_video(videos, int(row), None)
        if other is not None and other.file == video.file:
            times += videos.frames_of(int(row))[1][int(number) : int(number) + 1].tolist()
    return times


async def _upload(site: Site, request: Request) -> Response:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_UPLOAD_BYTES:
        raise HTTPException(413)
    upload = bytearray()
    try:
        with anyio.fail_after(_UPLOAD_SECONDS):
            async for chunk in request.stream():
                upload += chunk
                if len(upload) > MAX_UPLOAD_BYTES:
                    raise HTTPException(413)
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(408) from None
    name = await site.uploads.run(site.pictures.add, bytes(upload))
    return PlainJSON({"picture": name}, 201)


async def _picture(site: Site, request: Request) -> Response:
    jpeg = site.pictures.jpeg(request.path_params["name"])
    if jpeg is None:
        raise HTTPException(404)
    return Response(jpeg, 200, _KEPT, "image/jpeg")


async def _on_error(site: Site, request: Request, error: Exception) -> Response:
    status, headers = _status_of(site, error)
    problem, hint = describe_error(error)
    return PlainJSON({"error": problem, "hint": hint}, status, headers)


def describe_error(error: Exception) -> tuple[str, str]:
    """Return the problem and a hint."""
    if isinstance(error, VopError):
        return str(error), error.hint
    if isinstance(error, HTTPException):
        return error.detail, ""
    return "too many searches at once", "try again in a few seconds"


def _status_of(site: Site, error: Exception) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of an error; those of the server are logged."""
    if isinstance(error, HTTPException):
        return error.status_code, dict(error.headers or {})
    if isinstance(error, UsageError):
        return 400, {}
    if isinstance(error, VideoError):
        return 404, {}
    if isinstance(error, CrowdedError | BusyError):
        return 503, {"retry-after": "2"}
    site.log(f"Error: {error}")
    return 500, {}
