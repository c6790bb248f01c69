"""Open the source of an index: a frame store, or videos that are decoded while encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vopcli.clip.shape import ClipShape
from vopcli.encoding.request import EncodeRequest
from vopcli.encoding.sources import EncodeSource, StoreSource, VideoSource
from vopcli.errors import DataError, UsageError
from vopcli.files.hdf5 import is_hdf5
from vopcli.frames.recipe import EARLIER_RECIPES, requested_recipe, unlike_model
from vopcli.index.meta import IndexMeta
from vopcli.progress import Progress
from vopcli.video.sampling import requested_sampling

if TYPE_CHECKING:
    from vopcli.methods.adapter_file import Adapter


def open_source(
    request: EncodeRequest,
    stored: IndexMeta | None,
    adapter: Adapter | None,
    progress: Progress,
    shape: ClipShape | None = None,
) -> EncodeSource:
    """Open a frame store, or find videos, by default to be sampled as for the index, else for the adapter.

    Args:
        request: names the sources.
        stored: metadata of the index, if it exists.
        adapter: the adapter, if one is given.
        progress: receives a warning if frames of a store are not those that the model takes.
        shape: of the model; None: the size of its frames is that of the index.

    Raises:
        UsageError: the sources or options contradict each other.
        DataError: the frames differ from those of the index.
    """
    recipe = stored.recipe if stored else adapter.recipe if adapter else None
    source = _open_source(request, recipe, shape)
    _check_recipe(request, source, stored)
    if shape and not recipe and (differences := unlike_model(source.recipe, shape.preprocessing)):
        progress.warn(f"the frames of {request.sources[0]} differ from the model's: {'; '.join(differences)}")
    return source


def _open_source(
    request: EncodeRequest, recipe: dict[str, Any] | None, shape: ClipShape | None
) -> EncodeSource:
    stores = [source for source in request.sources if is_hdf5(source)]
    if not request.sources:
        raise UsageError("nothing to encode", hint="name a frame store, or videos and folders")
    data = request.config.data
    if not stores:
        return VideoSource(
            request.sources,
            requested_recipe(data, recipe, shape=shape).middle,
            workers=request.workers,
            max_pixels=data.max_pixels,
            retry_failed=request.retry_failed,
        )
    if len(request.sources) > 1:
        raise UsageError(
            f"{stores[0]} is a frame store and must be the only source",
            hint="encode one store at a time into the same index",
        )
    store = StoreSource(stores[0], size=shape.image_resolution if shape else (recipe or {})["size"])
    asked = requested_sampling(data)
    if asked and asked.middle != store.sampling:
        raise UsageError(
            f"{stores[0]} holds frames sampled by {store.sampling}, not {asked.middle}",
            hint="omit --sampling and --num-frames, and data.sampling and data.num_frames in vop.yaml",
        )
    rules = (
        ("resized", "resize", data.resize, "data.resize"),
        ("fitted", "fit", data.fit, "--fit, and data.fit"),
    )
    for made, name, rule, settings in rules:
        if rule and rule.value != store.recipe[name]:
            raise UsageError(
                f"{stores[0]} holds frames {made} by {store.recipe[name]}, not {rule.value}",
                hint=f"omit {settings} in vop.yaml",
            )
    return store


def _check_recipe(request: EncodeRequest, source: EncodeSource, earlier: IndexMeta | None) -> None:
    recorded = EARLIER_RECIPES | earlier.recipe if earlier else source.recipe
    if recorded != source.recipe:
        different = [
            f"{name} {recorded.get(name)}, not {value}"
            for name, value in source.recipe.items()
            if recorded.get(name) != value
        ]
        raise DataError(
            f"{request.index} holds frames of {'; '.join(different)}",
            hint="use the same settings, another index, or --overwrite",
        )
