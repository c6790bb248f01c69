"""The study of all variants on the demo set, on a few of its videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study import demo_config, run_study

from vopcli.config.choices import Variant
from vopcli.config.schema import DataConfig
from vopcli.datasets.demo.folder import SETTINGS_NAME, STORE, STUDY, VIDEOS, DemoRequest, make_demo
from vopcli.datasets.demo.scenes import plan_demo
from vopcli.evaluation.evaluate import EvaluateRequest, evaluate
from vopcli.frames.extract import extract
from vopcli.frames.plan import ExtractRequest
from vopcli.progress import SilentProgress

QUIET = SilentProgress()


@pytest.mark.slow
def test_every_variant_is_measured_by_what_it_keeps_and_trained_once(tmp_path: Path) -> None:
    pairs = list(plan_demo(seed=0))
    make_demo(DemoRequest(tmp_path), progress=QUIET, pairs=[*pairs[:12], *pairs[-6:]])
    settings = (tmp_path / SETTINGS_NAME).read_text()
    # full, bias, proj and partial train in float32 what is rounded to bfloat16 when it is loaded for use
    settings = settings.replace("training: {", "training: {precision: fp32, ")
    (tmp_path / SETTINGS_NAME).write_text(settings.replace("size: 48", "size: 48, num_frames: 3"))
    data = DataConfig(size=48, num_frames=3)
    extract(ExtractRequest([tmp_path / VIDEOS], tmp_path / STORE, data), QUIET)
    study = run_study(tmp_path, progress=QUIET, epochs=1, seeds=(0, 1))
    names = [row.name for row in study.rows]
    assert names[:8] == [variant.value for variant in Variant][:8]
    assert names[8:10] == ["VoP, text prompts alone", "VoP, visual prompts alone"]
    assert names[10:] == [variant.value for variant in Variant][8:]
    trained = {row.name: row.num_trained for row in study.rows}
    assert trained["VoP, text prompts alone"] + trained["VoP, visual prompts alone"] == trained["VoP"] == 8192
    assert [len(row.scores) for row in study.rows] == [1, *[2] * (len(Variant) + 1)]
    assert json.loads((tmp_path / STUDY / "study.json").read_text())["epochs"] == 1
    assert study.precision == "fp32"

    config = demo_config(tmp_path, Variant.P, epochs=1)
    shown = {"full", "adapter-attn", "VoP, text prompts alone", "C+F"}  # one of each kind of adapter file
    for row in [row for row in study.rows if row.name in shown]:
        variant, _, side = row.name.partition(", ")
        folder = tmp_path / STUDY / side.partition(" ")[0]
        for seed, score in enumerate(row.scores):
            (found,) = evaluate(EvaluateRequest(config, [str(folder / f"{variant}-seed{seed}")]), QUIET)
            assert found.metrics.t2v.recall_percent[1] == score.t2v_recall
            assert found.metrics.v2t.recall_percent[1] == score.v2t_recall

    logs = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{STUDY}/**/last.ckpt")}
    assert len(logs) == 30
    assert run_study(tmp_path, progress=QUIET, epochs=1, seeds=(0, 1)) == study
    assert {path: path.stat().st_mtime_ns for path in logs} == logs
