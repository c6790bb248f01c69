"""The table of results: figures, marks, notes and names."""

from __future__ import annotations

from dataclasses import replace

from tests.support.pages import make_document, make_report, make_result
from vopcli.config.choices import DatasetName
from vopcli.reports.tables import name_results, results_table

GOOD = make_result("P", 30_720, [1, 1, 2, 11])
POOR = make_result("zero-shot", 0, [1, 7, 9, 30])


def test_figures_stand_under_their_headings() -> None:
    table = results_table([POOR, GOOD])
    assert sum(span for _, span in table.groups) == len(table.columns)
    texts = [[cell.text for cell in row] for row in table.rows]
    way = ["50.0", "75.0", "75.0", "2.0", "3.8"]
    assert texts[1] == ["P", "P", "30,720", *way, *way, "4", "50"]


def test_sentences_have_the_metrics_of_partially_relevant_retrieval() -> None:
    table = results_table([make_result("P", 9, [1, 1, 2, 11], queries="sentences")])
    assert list(table.columns[3:8]) == ["R@1", "R@5", "R@10", "R@100", "SumR"]
    way = ["50.0", "75.0", "75.0", "100.0", "300.0"]
    assert [cell.text for cell in table.rows[0][3:13]] == [*way, *way]
    assert any("whole video: not comparable with paragraphs" in note for note in table.notes)


def test_the_best_is_marked_and_ranks_are_better_when_low() -> None:
    rows = results_table([POOR, GOOD]).rows
    assert {cell.kind for cell in rows[0][3:]} == {""}
    assert [cell.kind for cell in rows[1][3:13]] == ["best", "best", "", "best", "best"] * 2
    assert {cell.kind for row in results_table([GOOD]).rows for cell in row} == {"", "text"}, (
        "nothing to compare with"
    )


def test_notes_say_for_whom_they_hold_unless_for_all() -> None:
    partial = make_result(
        "VoP",
        8_192,
        [1, 2],
        data=make_report(127, without_file=["gone.mp4"] * 9, notes=["odd"]),
        num_cut_captions=3,
    )
    notes = results_table([POOR, GOOD, partial]).notes
    assert "Measured on the split test, with ViT-B/32." in notes
    assert "All but zero-shot: Epoch 3 was selected: the best epoch (the split val)." in notes
    assert "VoP: Only 93.4 % of the gallery was found: not comparable with others." in notes
    assert {"VoP: odd", "VoP: 3 captions were cut to 77 tokens."} <= set(notes)
    t2v = make_document("P", 30_720, [1, 1, 2, 11])["t2v"]
    t2v |= {"uses_other_queries": True, "scoring": "dual softmax", "num_tied_queries": 2}
    notes = results_table([make_result("P", 30_720, [1, 1, 2, 11], t2v=t2v)]).notes
    assert "The scoring 'dual softmax' uses the other queries of the test." in notes
    assert "2 t2v queries tie with their right answer." in notes
    pooled = results_table([replace(GOOD, pooling="max")]).notes
    assert "Frames are pooled by max, not the mean of the published protocols." in pooled
    known = replace(GOOD, dataset=DatasetName.MSRVTT_9K, published={"t2v": {"R@1": 40.1, "MdR": 2}})
    assert (
        "P on msrvtt-9k, published (VoP, CVPR 2023, ViT-B/32, test split): t2v R@1 40.1."
        in results_table([known]).notes
    )


def test_names_are_as_short_as_they_tell_models_apart() -> None:
    def named(*targets: str) -> list[str]:
        return name_results([make_result("P", 1, [1], target=target) for target in targets])

    assert name_results([GOOD, POOR]) == ["P", "zero-shot"]
    assert named("runs/P-seed0", "runs/P-seed1") == ["P-seed0", "P-seed1"]
    assert named("a/P-seed0", "b/P-seed0") == ["a/P-seed0", "b/P-seed0"]
    long = named("a/" + "x" * 60 + "1", "b/" + "x" * 60 + "1")
    assert [len(name) for name in long] == [28, 28]
