"""Settings files as YAML: duplicate keys, numbers, and what is not YAML."""

import time
from pathlib import Path

import pytest
import yaml

from vopcli.config.yaml_file import parse_assignment, read_yaml
from vopcli.errors import ConfigError


def read(folder: Path, text: str) -> object:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def test_numbers_without_a_dot_may_have_an_exponent(tmp_path: Path) -> None:
    assert read(tmp_path, "{a: 1e-3, b: -2E5, c: 1.5e+2, d: 1e, e: e3}") == {
        "a": 0.001,
        "b": -200000.0,
        "c": 150.0,
        "d": "1e",
        "e": "e3",
    }


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: 2\na: 3\n", 3), ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4), ("'a': 1\na: 2", 2)]
)
def test_a_duplicate_key_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=f"not valid YAML at line {line}: duplicate key '[ab]'"):
        read(tmp_path, text)


def test_keys_that_are_not_scalars_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        read(tmp_path, "? [a, b]\n: 1\n")


def test_a_long_duplicate_key_is_shortened(tmp_path: Path) -> None:
    key = "k" * 900
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{key}: 1\n{key}: 2\n")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_the_check_for_duplicate_keys_takes_linear_time(tmp_path: Path) -> None:
    text = "\n".join(f"k{number}: 1" for number in range(20_000))
    began = time.perf_counter()
    yaml.safe_load(text)
    unchecked = time.perf_counter() - began
    began = time.perf_counter()
    read(tmp_path, text)
    assert time.perf_counter() - began < 2 * unchecked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.lr=1e-3", ("training.lr", 0.001)),
        (" data.skip =a=b", ("data.skip", "a=b")),
        ("data.max_tokens=", ("data.max_tokens", None)),
        ("data.a.b=[1]", ("data.a.b", [1])),
    ],
)
def test_assignments_hold_yaml(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    "text", ["a.b", "a=1", "a.b=[", "a.b=!!python/name:os.system", "=", "a.b=" + "[" * 5000]
)
def test_other_texts_are_not_assignments(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an assignment") as caught:
        parse_assignment(text)
    assert len(str(caught.value)) < 200
