"""Settings files: what they may say, and that all their problems are told at once."""

import itertools
import os
from pathlib import Path

import pytest

from vopcli.config.load import explain_config, load_config
from vopcli.config.schema import Config
from vopcli.errors import ConfigError, FileError


def write(folder: Path, text: str) -> Path:
    path = folder / "vop.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    text = "backbone: {weights: demo-tiny}\ndata: {frames: out.h5, size: 48}\nsearch:\n  index: idx.h5\n"
    config = load_config(write(tmp_path, text))
    assert config.backbone.weights == "demo-tiny"
    assert (config.data.frames, config.data.size, config.data.num_frames) == ("out.h5", 48, None)
    assert config.search.index == "idx.h5"


def test_the_current_folder_is_looked_at(tmp_path: Path) -> None:
    assert load_config() == Config()
    write(tmp_path, "data: {size: 64}")
    assert load_config().data.size == 64


def test_the_nearest_parent_folder_is_looked_at(tmp_path: Path) -> None:
    """File names are relative to the settings file; names of models, and absolute names, stay."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    os.chdir(below)
    data = "{frames: out.h5, captions: /c.jsonl, skip: dgl}"
    write(tmp_path, f"backbone: {{weights: ViT-B/32}}\ndata: {data}\ntraining: {{output: runs, epochs: 3}}")
    found = load_config()
    assert found.backbone.weights == "ViT-B/32"
    assert Path(found.data.frames or "").resolve() == tmp_path / "out.h5"
    assert (found.data.captions, found.data.skip) == ("/c.jsonl", "dgl")
    assert Path(found.training.output).resolve() == tmp_path / "runs"
    assert load_config(Path("../../vop.yaml")).data.frames == "out.h5"  # named: relative to this folder
    write(tmp_path / "a", "training: {epochs: 4}")
    assert load_config().training.epochs == 4
    assert load_config().data.frames is None


def test_each_setting_is_explained_by_its_source(tmp_path: Path) -> None:
    write(tmp_path, "training: {epochs: 2, seed: 1}")
    config, origins = explain_config(preset="msvd", assignments=["training.seed=4"])
    assert config == load_config(preset="msvd", assignments=["training.seed=4"])
    assert origins["training.epochs"] == "vop.yaml"
    assert origins["training.seed"] == "--set training.seed"
    assert origins["data.dataset"] == "preset msvd"
    assert "training.lr" not in origins


def test_an_option_replaces_the_setting_that_it_excludes(tmp_path: Path) -> None:
    captions = write(tmp_path, "data: {captions: a.jsonl}")
    assert load_config(captions, options={"data.dataset": "msvd"}).data.captions is None
    assert load_config(captions, assignments=["data.dataset=msvd"]).data.captions is None
    benchmark = write(tmp_path, "data: {dataset: msvd}")
    assert load_config(benchmark, options={"data.captions": "b"}).data.dataset is None
    with pytest.raises(ConfigError, match="are both given"):
        load_config(benchmark, options={"data.captions": "b", "data.dataset": "msvd"})


@pytest.mark.parametrize("text", ["", "# nothing\n", "search:\n"])
def test_empty_settings_are_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, text)) == Config()


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """
    backbone: {wieghts: a, weights: 3}
    data: {size: 2, frames: [1], num_frames: 2.5}
    serach: 1
    search: 4
    """
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    message = str(caught.value)
    for part in (
        "vop.yaml",
        "backbone.wieghts is unknown (did you mean weights?)",
        "backbone.weights must be text, not 3",
        "data.size must be from 16 to 2048, not 2",
        "data.frames must be text, not [1]",
        "data.num_frames must be a whole number, not 2.5",
        "serach is unknown (did you mean search?)",
        "search must be a mapping",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [", "not valid YAML at line 1"),
        ("data: {size: 48, size: 64}", "duplicate key 'size'"),
        ("data: !!python/object/apply:os.system [ls]", "is not supported"),
        ("- 1", "must be a mapping of `key: value`"),
        ("data: {size: true}", "must be a whole number, not True"),
        ("[" * 5000, "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("&a [*a]", "contains itself"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match.replace("[", r"\[")):
        load_config(write(tmp_path, text))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 64 KiB"):
        load_config(write(tmp_path, "#" * (1 << 16) + "\n"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vop.yaml"
    path.write_bytes(b"data: \xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.yaml does not exist"):
        load_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize("place", ["training: *i", "training: {epochs: *i}", "tuning: {variant: *i}", "*i"])
def test_aliases_that_grow_without_end_are_shown_in_part(tmp_path: Path, place: str) -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    levels += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in itertools.pairwise("abcdefghi")
    ]
    ending = f"? {place}\n: 1" if place == "*i" else place
    (tmp_path / "vop.yaml").write_text("\n".join([*levels, ending]))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "vop.yaml")
    assert len(str(caught.value)) < 3000
