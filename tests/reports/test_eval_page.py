"""The page of ``vop eval``: its sections and the facts in its header."""

from __future__ import annotations

from pathlib import Path

from tests.support.pages import make_result
from vopcli.reports.eval_page import eval_page


def test_a_page_has_a_row_for_each_model_and_a_point_for_each_variant() -> None:
    results = [
        make_result("zero-shot", 0, [1.0, 3.0]),
        make_result("VoP", 122_880, [1.0, 1.0]),
        make_result("VoP", 122_880, [1.0, 2.0], target="runs/VoP-seed1", seed=1),
    ]
    page = eval_page(results, Path("none.h5"), num_queries=0)
    table, recall, histograms = page.sections
    assert [row[0].text for row in table.tables[0].rows] == ["zero-shot", "VoP-seed0", "VoP-seed1"]
    assert [mark.title for mark in recall.charts[0].marks] == ["zero-shot: 50", "VoP: 75 ± 35"]
    assert (
        [name for name, _ in recall.legend] == ["zero-shot", "VoP"] == [name for name, _ in histograms.legend]
    )
    assert page.facts == [
        ("Data", "own captions, split test: 2 captions, 50 videos, 2 of them with captions"),
        ("Weights", "ViT-B/32"),
    ]
