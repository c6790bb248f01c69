"""Settings files as YAML: duplicate keys, numbers, and what is not YAML."""

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


# What each hostile document is refused for, before its values are built.
HOSTILE = {
    "aliases": (
        "\n".join(
            [
                "a0: &a0 [x, x, x, x, x, x, x, x, x]",
                *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 60)),
            ]
        ),
        "line 4: more than 2000 keys and values",
    ),
    "merged": (
        "\n".join(
            [
                "a0: &a0 {x: 1}",
                *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 60)),
            ]
        ),
        "more than 2000 keys and values",
    ),
    "itself": ("data: &a [*a]", "the alias 'a' contains itself"),
    "keys": ("".join(f"k{n}: 1\n" for n in range(7000)) + "k1: 1", "line 1000: more than 2000 keys"),
    "deep": ("a: " + "[" * 5000, "nested more than 20 levels deep"),
    "compact": ("- " * 5000, "nested more than 20 levels deep"),
    "large": ("# " + "x" * (1 << 16), "is larger than 64 KiB"),
    "object": ("a: !!python/object:os.system {}", "the tag 'tag:yaml.org,2002:python/object:os.system'"),
    "integer": ("a: !!int ''", "the tag 'tag:yaml.org,2002:int' is not supported"),
    "boolean": ("a: !!bool maybe", "the tag 'tag:yaml.org,2002:bool' is not supported"),
    "time": ("a: !!timestamp x", "the tag"),
    "local": ("a: !" + "x" * 9000 + " 1", "the tag '!xxx"),
    "digits": ("a: " + "9" * 5000, "4300 digits"),
    "base-60": ("a: 1" + ":59" * 300 + ".5", "too large to convert to float"),
    "day": ("a: 2001-99-99", "month must be in"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_in_one_short_line(tmp_path: Path, name: str) -> None:
    text, reason = HOSTILE[name]
    with pytest.raises(ConfigError, match=reason) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert str(caught.value).isprintable()


def test_aliases_within_the_bounds_are_read(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: [2]}\nmore: {<<: *base, a: 3}\nagain: *base"
    assert read(tmp_path, text) == yaml.safe_load(text)


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
