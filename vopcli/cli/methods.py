"""``vop methods``: the variants and their parameter counts."""

from dataclasses import asdict

from vopcli.cli import console, options
from vopcli.config.schema import DEFAULT_NUM_FRAMES, Config


@options.settings("backbone.weights", "backbone.activation", "data.num_frames")
def methods(*, config: Config, as_json: options.Json = False) -> None:
    """List the variants with the parts and the number of parameters that each trains.

    Named weights are not downloaded. The last column is the paper's number for ViT-B/32 and 12 frames; it
    omits some tensors, and for C+F it differs from the design that the paper describes.
    """
    from vopcli.methods.counts import list_methods

    backbone, num_frames = config.backbone, config.data.num_frames or DEFAULT_NUM_FRAMES
    found = list_methods(backbone.model, num_frames=num_frames, activation=backbone.activation)
    if as_json:
        console.print_json([asdict(item) for item in found])
        return
    rows = [[item.variant, item.trains, f"{item.num_trained:,}", item.published] for item in found]
    console.print_table(("variant", "what trains", "parameters", "paper"), rows)
