"""The published settings: whole, true to the published figures, and in their place among all settings."""

import re
from pathlib import Path

import pytest

from vopcli.config.choices import DatasetName, Variant
from vopcli.config.load import load_config, preset_names
from vopcli.config.schema import TrainingConfig, TuningConfig
from vopcli.errors import ConfigError
from vopcli.evaluation.published import RESULTS

FOLDER = Path(__file__).parents[2] / "vopcli" / "config" / "presets"


DATASETS = [DatasetName(name) for name in preset_names()]


def test_every_benchmark_of_the_paper_has_a_preset() -> None:
    assert {dataset for dataset, _ in RESULTS} < set(DATASETS)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_first_comment_tells_the_published_figures(dataset: DatasetName) -> None:
    text = (FOLDER / f"{dataset.value}.yaml").read_text(encoding="utf-8")
    comment = re.split(r"\n[^#]", text)[0].replace("\n# ", " ")
    told = {name: float(figure) for name, figure in re.findall(r"([\w+-]+) (\d\d\.\d)", comment)}
    published = {
        variant.value: row["t2v"]["R@1"] for (name, variant), row in RESULTS.items() if name is dataset
    }
    assert told == published
    assert ("none" in comment) is not bool(published)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_preset_is_the_papers_training(dataset: DatasetName, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    config = load_config(tmp_path / "empty.yaml", preset=dataset.value)
    assert config.data.dataset is dataset
    assert (config.data.sampling, config.data.num_frames, config.data.size) == ("uniform", 12, 224)
    assert (config.data.max_tokens, config.backbone.weights) == (77, "ViT-B/32")
    training = config.training
    assert (training.epochs, training.batch_size, training.weight_decay) == (5, 32, 0.2)
    assert training == TrainingConfig(output=f"runs/{dataset.value}"), "our choices are our defaults"
    assert config.tuning == TuningConfig()


def test_each_source_goes_before_the_one_below_it(tmp_path: Path) -> None:
    path = tmp_path / "vop.yaml"
    path.write_text("training: {epochs: 7, warmup: 0.3, clip_norm: 2}\ndata: {root: /data}\nsearch:\n")
    file = load_config(path, preset="lsmdc")
    assert (file.training.epochs, file.training.batch_size, file.data.root) == (7, 32, "/data")
    config = load_config(
        path,
        preset="lsmdc",
        assignments=[
            *("training.epochs=8", "training.warmup=0.4", "training.lr=1e-3", "data.max_tokens="),
            "data.skip=a=b",
        ],
        options={"training.epochs": 9, "training.warmup": None, "tuning.variant": "f+p"},
    )
    assert (config.training.epochs, config.training.warmup, config.training.clip_norm) == (9, 0.4, 2)
    assert (config.training.lr, config.data.max_tokens, config.data.skip) == (0.001, None, "a=b")
    assert (config.tuning.variant, config.data.dataset) == (Variant.P_F, DatasetName.LSMDC)


@pytest.mark.parametrize(
    ("assignment", "match"),
    [
        ("training.epochs", "'training.epochs' is not an assignment"),
        ("epochs=3", "'epochs=3' is not an assignment"),
        ("training.epochs=[", "is not an assignment"),
        ("training.epoch=3", r"^--set training\.epoch is unknown \(did you mean epochs\?\)"),
        ("trainig.epochs=3", r"^--set trainig\.epochs is unknown \(did you mean training"),
        ("training.epochs=many", "^--set training.epochs must be a whole number, not 'many'"),
    ],
)
def test_assignments_are_checked(assignment: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config(assignments=[assignment])


@pytest.mark.parametrize(
    ("text", "preset", "match"),
    [
        ("", "msrvtt9k", r"unknown preset 'msrvtt9k' \(did you mean msrvtt-9k"),
        ("data: {dataset: lsmdc}", "msvd", "vop.yaml is for lsmdc, the preset for msvd"),
        ("data: {captions: a.jsonl}", "msvd", r"data.captions and data.dataset \(msvd\) are both given"),
        ("data: {captions: a.jsonl, dataset: vatex}", None, "are both given: omit one"),
        ("data: {dataset: msrvtt}", None, r"data.dataset cannot be 'msrvtt' \(did you mean msrvtt-"),
        ("data: 3", "msvd", "data must be a mapping"),
        ("[]", "msvd", "must be a mapping of `key: value`"),
        ("data: {max_tokens: 1}", None, "data.max_tokens must be from 3 to 1024"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path: Path, text: str, preset: str | None, match: str) -> None:
    path = tmp_path / "vop.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_config(path, preset=preset)
