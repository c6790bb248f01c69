"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.config.choices import DatasetName, Precision

Weights = Annotated[
    str | None,
    typer.Option(
        envvar="VOP_WEIGHTS",
        metavar="NAME|PATH",
        help="CLIP weights: a name of `vop weights list`, or a file.",
    ),
]
Device = Annotated[
    str, typer.Option(envvar="VOP_DEVICE", metavar="auto|cpu|cuda[:N]|mps", help="Where the model runs.")
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="auto: bf16 or fp16 where the machine is good at it.")
]
PrecisionSetting = Annotated[
    Precision | None,
    typer.Option("--precision", help="Number format of the frozen weights and the products. Default: auto."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Decoding processes; one a usable core unless given.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and failures.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings; vop.yaml of the current folder unless given."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Published settings, named after a benchmark such as msrvtt-9k; vop.yaml goes before.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Any setting; an option of its own goes before."),
]
Frames = Annotated[str | None, typer.Option("--frames", metavar="STORE.h5", help="Frame store.")]
Captions = Annotated[
    str | None, typer.Option("--captions", metavar="FILE", help="Captions: JSON Lines or CSV.")
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"A benchmark instead of captions: {' '.join(name.value for name in DatasetName)}.",
    ),
]
Root = Annotated[
    str | None, typer.Option(metavar="DIR", help="Folder of the benchmark's annotation files and videos.")
]
AllowMissing = Annotated[
    bool | None,
    typer.Option("--allow-missing", help="Go on although videos are missing; the results say how many."),
]
MaxTokens = Annotated[
    int | None, typer.Option(help="Longest caption in tokens; as long as the model can unless given.")
]
PoolingOption = Annotated[
    str,
    typer.Option(
        metavar="RULE", help="How a video's frames count: mean, mean-raw, max, top-K or attention[:T]."
    ),
]
Splits = Annotated[
    str | None, typer.Option("--split", metavar="NAME,...", help="Splits of the benchmark; all unless given.")
]


def names(listed: str | None) -> list[str] | None:
    """Return names that stand between commas; None where none are given."""
    return [name.strip() for name in listed.split(",") if name.strip()] if listed else None


Html = Annotated[
    Path | None,
    typer.Option(metavar="PAGE.html", help="Write tables, pictures and first results to one page."),
]
NUM_QUERIES = 8  # what a page shows of them unless told
Queries = Annotated[int, typer.Option(min=0, help="Captions whose first results the page shows.")]
