"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.config.choices import Precision

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
