"""How the frames of a store were made."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vopcli.clip.shape import OPENAI_PREPROCESSING, ClipShape, Preprocessing
from vopcli.config.choices import Codec, DecodeRule, Fit, Resize
from vopcli.config.schema import DEFAULT_SIZE_PX, DataConfig
from vopcli.errors import DataError, UsageError
from vopcli.frames.rows import FRAME_FORMAT
from vopcli.video.sampling import DEFAULT_SAMPLING, Sampling, parse_sampling, requested_sampling
from vopcli.video.windows import WHOLE_ONLY, WindowRule, parse_windows

if TYPE_CHECKING:
    from vopcli.video.video import FrameSpec

# values of recipes that were recorded before these settings existed
EARLIER_RECIPES: Final = {"fit": Fit.CROP.value}


@dataclass(frozen=True)
class Recipe:
    """How the frames of a store were made.

    Attributes:
        sampling: which frames were taken.
        size: side of the square frames in pixels.
        resize: resampling.
        codec: "raw" pixels, or "jpeg" files of quality 95.
        windows: which parts of long videos have frames of their own.
        decode: whether the exact frames were taken, or the nearest key frames.
        fit: how a frame became a square.
    """

    sampling: Sampling
    size: int
    resize: Resize = Resize.BICUBIC
    codec: str = Codec.RAW.value
    windows: WindowRule = WHOLE_ONLY
    decode: DecodeRule = DecodeRule.EXACT
    fit: Fit = Fit.CROP

    @classmethod
    def from_attributes(cls, path: Path, attributes: dict[str, Any]) -> Recipe:
        """Parse the recipe in a store's attributes.

        Raises:
            DataError: the recipe is incomplete or unknown.
        """
        recorded = attributes.get("recipe")
        if isinstance(recorded, dict):
            recorded = EARLIER_RECIPES | recorded
        if isinstance(recorded, dict) and set(recorded) == {item.name for item in fields(cls)}:
            with contextlib.suppress(UsageError, ValueError):
                parts = {
                    "sampling": recorded_sampling(recorded),
                    "resize": Resize(recorded["resize"]),
                    "windows": parse_windows(str(recorded["windows"])),
                    "decode": DecodeRule(recorded["decode"]),
                    "fit": Fit(recorded["fit"]),
                }
                recipe = cls(**recorded | parts)
                if recipe.codec in list(Codec) and isinstance(recipe.size, int) and 0 < recipe.size < 65536:
                    return recipe
        raise DataError(
            f"{path} is damaged: its sampling and size are not readable",
            hint=FRAME_FORMAT.hint,
        )

    @property
    def candidates(self) -> int:
        """Frames kept of each segment, C."""
        return self.sampling.candidates

    @property
    def middle(self) -> Recipe:
        """The recipe of the middle candidates alone, for all uses except training."""
        return replace(self, sampling=self.sampling.middle)

    def frame_spec(self, max_pixels: int) -> FrameSpec:
        """Return how frames are taken from a video; loads the decoder."""
        from vopcli.video.video import FrameSpec

        return FrameSpec(self.sampling, self.size, self.resize, self.fit, self.decode, max_pixels)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self) | {
            "sampling": str(self.sampling),
            "resize": self.resize.value,
            "windows": str(self.windows),
            "decode": self.decode.value,
            "fit": self.fit.value,
        }

    def to_attributes(self) -> dict[str, Any]:
        """Return the attributes of a store with this recipe."""
        return {"recipe": self.to_json()}

    def __str__(self) -> str:
        size = f"{self.size} x {self.size} pixels"
        rules = [rule.value for rule in (self.resize, self.fit) if rule not in {Resize.BICUBIC, Fit.CROP}]
        how = f" ({', '.join(rules)})" if rules else ""
        windows = "" if self.windows == WHOLE_ONLY else f", windows {self.windows}"
        keys = "" if self.decode is DecodeRule.EXACT else ", nearest key frames"
        return f"sampling {self.sampling}{windows}, {size}{how}, {self.codec}{keys}"


def requested_recipe(
    data: DataConfig, recorded: Mapping[str, Any] | None = None, *, shape: ClipShape | None = None
) -> Recipe:
    """Return the recipe of the settings; those that are not set are as recorded, else the defaults.

    Args:
        data: the settings.
        recorded: recipe in JSON form of an index or adapter.
        shape: of the model, which sets the size, and without ``recorded`` how frames are made.

    Raises:
        UsageError: a setting is invalid.
    """
    held, model = recorded or {}, shape.preprocessing if shape else OPENAI_PREPROCESSING
    sampling = requested_sampling(data) or (recorded_sampling(held) if held else DEFAULT_SAMPLING)
    usual = "whole" if data.dataset else "auto"
    return Recipe(
        sampling,
        shape.image_resolution if shape else held.get("size") or data.size or DEFAULT_SIZE_PX,
        data.resize or (recorded_resize(held) if held else model.resize),
        (data.codec or Codec(Recipe.codec)).value,
        parse_windows(data.windows or str(held.get("windows", usual))),
        data.decode or DecodeRule(held.get("decode", Recipe.decode)),
        data.fit or (recorded_fit(held) if held else model.fit),
    )


def unlike_model(recipe: Mapping[str, Any], model: Preprocessing) -> list[str]:
    """Compare frames made with the defaults with those that a model takes, by resize rule and fit.

    Other rules were chosen on purpose, and are not reported.

    Returns:
        A phrase for each difference, such as "fit crop, not squash".
    """
    usual = OPENAI_PREPROCESSING
    rules = ("resize", usual.resize, model.resize), ("fit", usual.fit, model.fit)
    return [
        f"{name} {default.value}, not {wanted.value}"
        for name, default, wanted in rules
        if wanted is not default and recipe[name] == default.value
    ]


def recorded_fit(recipe: Mapping[str, Any]) -> Fit:
    """Return how the frames of a recipe in JSON form were made square; earlier recipes do not record it.

    Raises:
        ValueError: the rule is unknown.
    """
    return Fit(recipe.get("fit", EARLIER_RECIPES["fit"]))


def recorded_resize(recipe: Mapping[str, Any]) -> Resize:
    """Return the resampling of a recipe in JSON form; that of ModelScope's prompts does not record it.

    Raises:
        ValueError: the rule is unknown.
    """
    return Resize(recipe.get("resize", Resize.BICUBIC))


def recorded_sampling(recipe: Mapping[str, Any]) -> Sampling:
    """Parse the sampling of a recipe in JSON form, as in adapter files and indexes.

    Raises:
        UsageError: the sampling is missing or unknown.
    """
    return parse_sampling(str(recipe.get("sampling")))


def other_frames(tuned_on: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Compare frames with those that a model was tuned on, by sampling, size, resize rule and fit.

    Args:
        tuned_on: recipe of the tuned model; missing keys are not compared, except those of
            `EARLIER_RECIPES`.
        given: recipe of the frames, the middle candidates.

    Returns:
        A phrase for each difference, such as "sampling fps:1, not uniform:12".
    """
    tuned_on, given = {**EARLIER_RECIPES, **tuned_on}, {**EARLIER_RECIPES, **given}
    return [
        f"{name} {given.get(name)}, not {tuned_on[name]}"
        for name in ("sampling", "size", "resize", "fit")
        if name in tuned_on and _comparable(given, name) != _comparable(tuned_on, name)
    ]


def _comparable(recipe: Mapping[str, Any], name: str) -> Any:
    """Return a value of a recipe; different names of the same sampling are equal."""
    with contextlib.suppress(UsageError):
        return recorded_sampling(recipe).plain if name == "sampling" else recipe.get(name)
    return recipe.get(name)
