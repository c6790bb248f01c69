"""``vop search``: rank the videos of an index by a text query."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from vopcli.cli import console, options
from vopcli.cli.query import (
    After,
    Before,
    Examples,
    InFolder,
    Likes,
    Longer,
    Minus,
    PictureFiles,
    Plus,
    Shorter,
    VideoParts,
)
from vopcli.config.schema import Config, SearchConfig
from vopcli.errors import EXIT_NOTHING_FOUND, EXIT_SOME_FAILED, UsageError

if TYPE_CHECKING:
    from vopcli.cli.show import Outputs
    from vopcli.search.filters import VideoFilter
    from vopcli.search.hits import Hit
    from vopcli.search.search import Index


@options.settings("search")
def search(
    context: typer.Context,
    query: Annotated[
        str | None,
        typer.Argument(metavar="QUERY", help="Text to search for; - reads one query per line of stdin."),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SRC]...", help="A folder or videos to index first. [default: the index]"),
    ] = None,
    *,
    config: Config,
    image: PictureFiles = None,
    video: VideoParts = None,
    like: Likes = None,
    plus: Plus = None,
    minus: Minus = None,
    in_folder: InFolder = None,
    longer: Longer = None,
    shorter: Shorter = None,
    after: After = None,
    before: Before = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Weights of the model. [default: those of the index]"),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="New path of the index's adapter, for pictures and videos."),
    ] = None,
    paths: Annotated[bool, typer.Option("--paths", help="Print file names only, one per line.")] = False,
    print0: Annotated[
        bool, typer.Option("--print0", "-0", help="Print file names only, each ended by NUL (for xargs -0).")
    ] = False,
    moments: Annotated[
        bool, typer.Option("--moments", help="Rank moments instead of videos, several per video.")
    ] = False,
    per_video: Annotated[
        int | None,
        typer.Option("--per-video", min=1, metavar="N", help="Maximum moments per video. [default: 3]"),
    ] = None,
    dedupe: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="COSINE", help="Drop hits with at least this cosine to a better one."
        ),
    ] = None,
    as_json: options.Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON document per query and line.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="TEMPLATE", help="Print a line per hit, such as '{file}#t={start},{end}'."
        ),
    ] = None,
    clips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Cut a clip of each hit into a folder.")
    ] = None,
    pad: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Make clips longer at both ends.")
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Cut clips without re-encoding, from a key frame.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw frames of each hit: .jpg or .png.")
    ] = None,
    markers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write hits for video editors: .csv, .edl, .otio or .fcpxml."),
    ] = None,
    open_rank: Annotated[
        int | None,
        typer.Option("--open", min=1, metavar="[N]", help="Open hit N in a player at its start. [N: 1]"),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Print frames on terminals that show pictures.")
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Rank the videos of an index, or of a folder, by a text, pictures or videos.

    The first search encodes SRC into an index, later ones add new and changed videos. The index is kept in
    the hidden folder .vop of SRC if that is a writable folder, else in the cache. Without SRC and --index,
    the index is that of the current folder, or the only index file in it; its name is printed.

    Prints score, confidence (if the index has a query bank of at least 500 captions), the range that matches
    best, and file: a table on a terminal, tab-separated values otherwise. The score is the cosine of query
    and video; in an index with windows, the mean cosine of the best three successive frames; with another
    --pooling, a mean of cosines for which all frames are read. With -, each query is answered as soon as it
    is read, and printed in the first column; empty lines are skipped. Queries longer than the model's
    context (77 tokens, fewer with prompts) are truncated.

    --image, --video and --like (a frame of the index; loads no model) are added to the text; --plus and
    --minus take further texts, or image:FILE, video:FILE or like:VIDEO@TIME. Each part is normalised and
    weighted. Times are seconds or 1:02.5. With these options, a first argument that names a file is SRC.

    The fields of --format are rank, score, file (absolute), path, and start, end and best in seconds; with
    -0 each line ends in NUL. Clips, sheets, markers, players and thumbnails need a single query.
    """
    examples = Examples(image or (), video or (), like or (), plus or (), minus or ())
    query, sources = examples.split(query, sources or [], context)
    is_many = query == "-"
    show = _printer(template, is_many=is_many, paths=paths, print0=print0, as_json=as_json, jsonl=jsonl)
    more = (clips, pad, copy, sheet, markers, open_rank, config.search.player, thumbnails, overwrite)
    outputs = _outputs(*more, is_many=is_many)
    if per_video is not None and not moments:
        raise UsageError("--per-video needs --moments", hint="add --moments, or omit --per-video")
    if adapter and not examples:
        raise UsageError(
            "--adapter is for pictures and videos: the index holds all that texts need", hint="omit it"
        )
    settings = config.search
    path = _index_of(context, query or "", sources, config, weights)
    opened = open_for_search(path, config, weights, adapter)
    _note_missing(opened)
    limits = {"top": settings.top, "min_score": settings.min_score, "per_video": per_video, "dedupe": dedupe}
    where = _filter_of(in_folder, longer, shorter, after, before)
    find = partial(opened.search, moments=moments, max_false=settings.max_false, where=where, **limits)
    answers = ((str(one), find(one)) for one in examples.queries(_lines() if is_many else iter([query])))
    found_any, label, hits = _print_answers(opened, answers, None if as_json else show, is_many=is_many)
    if outputs and hits and outputs.show(label, hits):
        raise typer.Exit(EXIT_SOME_FAILED)
    _check_found(settings, found_any=found_any, is_many=is_many, is_filtered=where is not None)


def _filter_of(
    folder: str | None,
    longer: float | None,
    shorter: float | None,
    after: date | None,
    before: date | None,
) -> "VideoFilter | None":
    if not (folder or any(limit is not None for limit in (longer, shorter, after, before))):
        return None
    from vopcli.search.filters import VideoFilter

    return VideoFilter(folder or "", longer, shorter, after, before)


def _print_answers(
    opened: "Index",
    answers: "Iterable[tuple[str, list[Hit]]]",
    show: "Callable[[Index, str, list[Hit]], None] | None",
    *,
    is_many: bool,
) -> "tuple[bool, str, list[Hit]]":
    """Print each answer as soon as it is there; without `show`, print all as one JSON document.

    Returns:
        Whether a query has hits; the last query and its hits.
    """
    found_any, documents = False, []
    missing: dict[str, None] = {}  # a set in order
    query: str = ""
    hits: list[Hit] = []
    for query, hits in answers:
        found_any = found_any or bool(hits)
        if show is None:
            documents.append(_document(opened, query, hits))
        else:
            show(opened, query, hits)
            missing |= {format_path(hit): None for hit in hits if hit.is_missing}
    if show is None:
        console.print_json(documents if is_many else documents[0])
    _say_missing([*missing])
    return found_any, query, hits


def _check_found(settings: SearchConfig, *, found_any: bool, is_many: bool, is_filtered: bool) -> None:
    from vopcli.search.hits import describe_limits

    limits = describe_limits(settings.min_score, settings.max_false)
    if found_any or not (limits or is_filtered):
        return
    if not is_many:
        chosen = ", among the chosen videos" * is_filtered
        console.say(f"{limits}{chosen}" if limits else "no video has this folder, length and date")
    raise typer.Exit(EXIT_NOTHING_FOUND)


class SearchCommand(TyperCommand):
    """A command whose --open needs no number, which Typer does not support."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give --open the number 1 unless a number follows."""
        end = args.index("--") if "--" in args else len(args)  # words behind it are no options
        words = args[:end]
        for place, follower in enumerate([*args[1:end], ""][: len(words)]):
            if words[place] == "--open" and not follower.isdecimal():
                words[place] = "--open=1"
        return super().parse_args(ctx, words + args[end:])


def _outputs(*given: Any, is_many: bool) -> "Outputs | None":
    """Return the outputs besides the list, checked; None if there are none."""
    *asked, _, thumbnails, _ = given
    if not (thumbnails or any(one not in {None, False} for one in asked)):
        return None
    from vopcli.cli.show import Outputs

    outputs = Outputs(*given)
    outputs.check(is_many=is_many)
    return outputs


def _printer(
    template: str | None, *, is_many: bool, paths: bool, print0: bool, as_json: bool, jsonl: bool
) -> "Callable[[Index, str, list[Hit]], None]":
    """Return a function that prints the hits of one query.

    Raises:
        UsageError: several output formats are given, or ``template`` has a wrong field.
    """
    if sum((paths or (print0 and template is None), as_json, jsonl, template is not None)) > 1:
        raise UsageError("--paths, --format, --json and --jsonl exclude each other", hint="use one of them")
    end = b"\0" if print0 else b"\n"
    if template is not None:
        from vopcli.search.template import check_template, fill_template

        check_template(template, "--format")

        def show_formatted(index: "Index", query: str, hits: "list[Hit]") -> None:
            del index, query
            for hit in hits:
                console.print_path(fill_template(template, hit), end=end)

        return show_formatted

    def show(index: "Index", query: str, hits: "list[Hit]") -> None:
        if jsonl:
            console.print_line(json.dumps(_document(index, query, hits), allow_nan=False))
        elif paths or print0:
            for hit in hits:
                console.print_path(format_path(hit), end=end)
        else:
            _print_table(hits, query if is_many else None)

    return show


def _index_of(
    context: typer.Context, query: str, sources: list[Path] | None, config: Config, weights: str | None
) -> Path:
    is_option = options.is_given(context, "index")
    if is_option and config.search.index and not sources:
        return Path(config.search.index)
    from vopcli.cli.choose_index import check_sources, choose_index, index_videos

    if sources and is_option:
        check_sources(query, sources)  # most likely the words of a query without quotes
        raise UsageError("--index and SRC exclude each other", hint="omit one of them")
    if sources:
        return index_videos(query, sources, config, weights)
    return choose_index(context, config.search.index)


def open_for_search(path: Path, config: Config, weights: str | None, adapter: Path | None = None) -> "Index":
    """Open an index with the settings of a command.

    Raises:
        DataError: ``path`` is missing, not an index, or damaged.
    """
    # A single query is bound by memory bandwidth and uses threads of its own; BLAS threads, which spin while
    # they wait, would only cost time, especially on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    from vopcli.config.choices import parse_pooling
    from vopcli.search.search import Index

    settings = config.search
    return Index(
        path,
        weights=weights,
        fallbacks=[config.backbone.weights] if config.backbone.weights else [],
        adapter=adapter,
        progress=console.progress(quiet=False),
        pooling=parse_pooling(settings.pooling) if settings.pooling else None,
        norm=settings.norm,
    )


def _note_missing(opened: "Index") -> None:
    """Say if videos are missing from an index."""
    from vopcli.search.stores import EngineIndex

    if not len(opened):
        console.say(f"{opened.path} has no videos: add some with `vop encode`")
    if num_unfinished := opened.num_unfinished:
        console.say(f"{num_unfinished} videos are not encoded yet: run `vop encode` again")
    if isinstance(opened.videos, EngineIndex) and not opened.videos.is_complete:
        console.say(f"{opened.path} is not complete: run `vop encode` or `vop index copy` again")


def _lines() -> Iterator[str]:
    """Yield the queries on stdin as they arrive, with bytes that are not UTF-8 replaced."""
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", errors="replace").removeprefix("\ufeff").strip()
        if text:
            yield text


def _document(index: "Index", query: str, hits: "list[Hit]") -> dict[str, object]:
    hit_documents = [hit.to_dict() for hit in hits]
    return {"query": query, "pooling": index.rule, "norm": index.norm.value, "hits": hit_documents}


def _print_table(hits: "list[Hit]", query: str | None) -> None:
    from vopcli.search.hits import format_range

    rows = [[format_score(hit.score), format_range(hit), format_path(hit)] for hit in hits]
    names = ["score", "range", "video"]
    if sys.stdout.isatty():  # other programs get the names alone
        for row, hit in zip(rows, hits, strict=True):
            row[2] += " (missing)" * hit.is_missing
    links = [hit.file.as_uri() for hit in hits] if sys.stdout.isatty() else []
    if any(hit.confidence is not None for hit in hits):
        names.insert(1, "confidence")
        for row, hit in zip(rows, hits, strict=True):
            row.insert(1, f"{hit.confidence:.3f}")
    if query is not None:
        names, rows = ["query", *names], [[query, *row] for row in rows]
    console.print_table(names, rows, links=links)


def _say_missing(files: list[str]) -> None:
    if files and not sys.stdout.isatty():  # on a terminal, the table marks them
        console.say(f"missing files: {', '.join(files[:10])}{', ...' if len(files) > 10 else ''}")


def format_score(score: float) -> str:
    """Write 3 decimals on a terminal, 6 for other programs."""
    return f"{score:.6f}" if not sys.stdout.isatty() else f"{score:.3f}"


def format_path(hit: "Hit") -> str:
    """Return a path that can be opened: relative for a file below the current folder, else absolute."""
    file = os.fspath(hit.file)
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118  (of any bytes)
    return file.removeprefix(here) if file.startswith(here) else file
