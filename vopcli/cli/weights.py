"""``vop weights``: list, download, convert and show CLIP weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.config.choices import Activation
from vopcli.resources import cache_folder

app = typer.Typer(
    help="List, download, convert and show CLIP weights, cached in $VOP_CACHE or ~/.cache/vop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Source = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="A name of `vop weights list`, a file or a folder.")
]


@app.command("list")
def list_(*, as_json: options.Json = False) -> None:
    """List the named models with file or repository, licence, size and state; SHA-256 with --json."""
    from vopcli.weights.library import list_models

    models = list_models(cache_folder())
    if as_json:
        console.print_json([vars(model) for model in models])
        return
    rows = [
        [model.name, model.file, model.licence, f"{model.num_bytes / 1e6:.0f} MB", model.state]
        for model in models
    ]
    console.print_table(["name", "file", "licence", "size", "state"], rows)


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `vop weights list`.")],
    *,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Mirror: address of the folder with <sha256>/<file>, or of the .pt file.",
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Download a model, or resume an interrupted download; print its path."""
    from vopcli.weights.catalog import BASE_URL
    from vopcli.weights.library import get_model

    progress = console.progress(quiet=quiet)
    path = get_model(name, cache=cache_folder(), progress=progress, base_url=url or BASE_URL)
    if as_json:
        console.print_json({"name": name, "path": str(path)})
    else:
        console.print_line(console.printable(str(path)))


@app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="File to write.")],
    *,
    activation: Annotated[Activation | None, options.option("backbone.activation")] = None,
    suffix_prompts: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Prompts after the text in ModelScope's VoP. [default: half]"),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Convert supported weights to one safetensors file that needs no configuration file."""
    from vopcli.methods.modelscope import convert_modelscope, is_modelscope
    from vopcli.weights.library import check_target, convert_weights

    check_target(target, overwrite=overwrite)
    path, cache, progress = Path(source), cache_folder(), console.progress(quiet=quiet)
    if is_modelscope(path):
        description = convert_modelscope(path, target, progress, text_suffix=suffix_prompts)
    else:
        description = convert_weights(source, target, cache=cache, progress=progress, activation=activation)
    _show(description, as_json=as_json)


@app.command()
def show(
    source: Source,
    *,
    activation: Annotated[Activation | None, options.option("backbone.activation")] = None,
    as_json: options.Json = False,
) -> None:
    """Show the kind, sizes, dtypes, activation and fingerprint of a weights file."""
    from vopcli.weights.library import show_weights

    _show(show_weights(source, cache=cache_folder(), activation=activation), as_json=as_json)


def _show(description: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.print_json(description)
        return
    dtypes = ", ".join(f"{count:,} {dtype}" for dtype, count in description["dtypes"].items())
    cells = description | {"dtypes": dtypes, "num_parameters": f"{description['num_parameters']:,}"}
    console.print_table(["", ""], [[name, str(value)] for name, value in cells.items()])
