"""``vop serve``: a page to search in."""

import contextlib
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from vopcli.cli import console, options
from vopcli.config.schema import Config
from vopcli.errors import UsageError


@options.settings("search.index", "search.top", "search.pooling", "search.norm")
def serve(
    context: typer.Context,
    indexes: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INDEX.h5|SRC]...", help="Indexes, or folders to index. [default: as in vop search]"
        ),
    ] = None,
    *,
    config: Config,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Weights of the model. [default: those of the index]"),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Address to listen on; any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="VOP_TOKEN",
            show_envvar=False,
            metavar="TEXT",
            help="Token of the page. [default: random unless loopback; env: VOP_TOKEN]",
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Encode new and changed videos of a folder into the first index."),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    log_queries: Annotated[bool, typer.Option("--log-queries", help="Write queries to the log.")] = False,
) -> None:
    """Search in a browser: a page with frames, videos that play from the match, and JSON.

    Serves this machine only, unless --host names another address, such as 0.0.0.0 for all; then the page
    needs a token, which is printed once. Only videos of the indexes are served, by number, and only files
    that have not changed since they were encoded. An index that changes is read again; searches do not wait
    for a running vop encode. With --watch, vop encode runs beside the server, and an empty folder is served
    when it has a video.
    """
    missing = [name for name in ("starlette", "uvicorn", "watchfiles") if not find_spec(name)]
    if missing:
        raise UsageError(f"not installed: {', '.join(missing)}", hint='run `pip install "vopcli[web]"`')
    options.check_local([*(indexes or ()), *([watch] if watch else ())])
    if watch and not watch.is_dir():
        raise UsageError(f"--watch {watch} is not a folder", hint="name the folder of the videos")
    if watch and indexes and indexes[0].is_dir() and not indexes[0].samefile(watch):
        raise UsageError(
            f"the index of the folder {indexes[0]} holds only its own videos, not those of {watch}",
            hint=f"use --watch {indexes[0]}, or name an index of `vop encode` first",
        )
    from vopcli.cli.choose_index import choose_index, index_of
    from vopcli.cli.search import open_for_search
    from vopcli.search.stores import check_is_file
    from vopcli.web.app import Site, create_app
    from vopcli.web.guard import choose_token
    from vopcli.web.served import ServedIndex
    from vopcli.web.server import listen, run_server
    from vopcli.web.watch import Watcher

    named = indexes or [choose_index(context, config.search.index)]
    paths = [index_of(path, config, weights, watch) if path.is_dir() else path for path in named]
    for path in paths:
        check_is_file(path, "vop serve")
    served = [ServedIndex(path, lambda path: open_for_search(path, config, weights)) for path in paths]
    token = token or choose_token(host)
    listener = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    if token:
        console.say(f"Token: {token}")
        address += f"?token={quote(token)}"
    console.say(f"Serving at {address} (Ctrl-C stops)")
    if open_page:
        webbrowser.open(address)  # the socket listens already
    watcher = Watcher(watch, paths[0], console.say) if watch else None
    site = Site(served, config.search.top, console.say, log_queries=log_queries, watcher=watcher)
    with watcher or contextlib.nullcontext():
        run_server(create_app(site, hosts=[host], token=token), listener)
