"""Every setting has a help text, and each number its bounds."""

import math
from dataclasses import Field
from typing import Any

import pytest

from vopcli.config.load import override
from vopcli.config.schema import SETTINGS, Config, TuningConfig
from vopcli.errors import ConfigError

BOUNDED = {name: item for name, item in SETTINGS.items() if item.metadata["between"]}
WITHOUT_BOUNDS = {"search.min_score"}


def value_of(config: Config, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def is_whole(item: Field[Any]) -> bool:
    return str(item.type).startswith("int")


@pytest.mark.parametrize("name", SETTINGS)
def test_help_is_a_sentence_of_at_most_80_characters(name: str) -> None:
    text = SETTINGS[name].metadata["help"]
    assert 10 <= len(text) <= 80
    assert text.endswith(".")
    assert text[0].isupper()


def test_every_number_has_bounds() -> None:
    numbers = {name for name, item in SETTINGS.items() if str(item.type).startswith(("int", "float"))}
    assert numbers - WITHOUT_BOUNDS == set(BOUNDED)


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_inclusive(name: str) -> None:
    low, high = BOUNDED[name].metadata["between"]
    for bound in (low, high):
        assert value_of(override(Config(), {name: bound}), name) == bound


@pytest.mark.parametrize("name", BOUNDED)
def test_numbers_just_outside_the_bounds_are_rejected(name: str) -> None:
    item = BOUNDED[name]
    low, high = item.metadata["between"]
    outside = (
        (low - 1, high + 1) if is_whole(item) else (math.nextafter(low, -1e9), math.nextafter(high, 1e9))
    )
    for value in (*outside, math.nan):
        with pytest.raises(ConfigError, match=f"^{name} must be "):
            override(Config(), {name: value})


@pytest.mark.parametrize("name", BOUNDED)
def test_defaults_are_within_the_bounds(name: str) -> None:
    default = BOUNDED[name].default
    assert default is None or value_of(override(Config(), {name: default}), name) == default


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_must_be_finite(value: float) -> None:
    assert override(Config(), {"search.min_score": -1.5}).search.min_score == -1.5
    with pytest.raises(ConfigError, match=r"search\.min_score must be a finite number"):
        override(Config(), {"search.min_score": value})


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("all", [0, 1, 2, 3]), ("1-2", [0, 1]), ("4", [3]), ("1, 3-4", [0, 2, 3]), ("2,1-2", [0, 1])],
)
def test_layers_are_counted_from_one(layers: str, expected: list[int]) -> None:
    assert TuningConfig(layers=layers).prompted_layers(4) == expected


@pytest.mark.parametrize("layers", ["", "0", "5", "2-1", "1-5", "a", "-1", "1,,2", "1" * 12])
def test_layers_that_a_tower_does_not_have_are_rejected(layers: str) -> None:
    expected = [0, 1, 2, 3]
    with pytest.raises(ConfigError, match=r"^tuning\.layers "):
        assert TuningConfig(layers=layers).prompted_layers(4) != expected
