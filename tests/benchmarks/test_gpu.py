"""The benchmark of a GPU, with a tiny model on the CPU."""

from __future__ import annotations

import math

import pytest
import torch
from gpu import MODES, NOT_MEASURED, run, tiny_plan
from train import PEER

CPU = torch.device("cpu")


@pytest.mark.slow
def test_everything_is_measured_and_set_beside_its_goal() -> None:
    with torch.compiler.set_stance("default", force_backend="eager"):
        text = run(tiny_plan(CPU, math.inf))
    assert NOT_MEASURED not in text
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in text.splitlines() if line[:2] == "| "}
    goals = [cells for cells in rows.values() if cells[-1] in {"yes |", "no |"}]
    assert len(goals) == 4
    steps = {name: rows[f"| {name}"] for name in ("full", "VoP", "C+F", PEER, "VoP, --compile")}
    assert steps["full"][1] == steps[PEER][2] == "1.00"
    share = float(goals[2][1])
    assert share == max(float(steps[name][1]) for name in ("VoP", "C+F"))
    for mode in MODES:
        for side in ("images", "texts"):
            theirs, ours, ratio = map(float, rows[f"| {side}, {mode}"][:3])
            assert ratio == pytest.approx(ours / theirs, rel=0.1)


@pytest.mark.slow
def test_after_its_time_nothing_is_begun() -> None:
    text = run(tiny_plan(CPU, -math.inf))
    assert text.count(NOT_MEASURED) == 4 + 1 + 2 * len(MODES) * 2
    assert "for lack of time or memory: full, VoP, C+F, VoP on open_clip, VoP, --compile" in text
