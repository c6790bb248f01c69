"""``vop methods``: the tuning methods and their parameter counts."""

from dataclasses import asdict
from typing import Annotated

import typer

from vopcli.cli import console, options


def methods(
    *,
    weights: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Backbone: a name needs no download.")
    ] = "ViT-B/32",
    num_frames: Annotated[int, typer.Option(min=1, help="Frames of a video.")] = 12,
    as_json: options.Json = False,
) -> None:
    """List the tuning methods, what each trains, and how many parameters that is.

    The last column is the figure that the paper prints for ViT-B/32 and 12 frames. It leaves some tensors out
    of the count; for C+F it differs from what the described design gives.
    """
    from vopcli.methods.counts import list_methods

    found = list_methods(weights, num_frames=num_frames)
    if as_json:
        console.print_json([asdict(item) for item in found])
        return
    rows = [[item.variant, item.trains, f"{item.num_trained:,}", item.published] for item in found]
    console.print_table(("variant", "what trains", "parameters", "paper"), rows)
