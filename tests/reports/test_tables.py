"""The table of results: figures, marks, notes and names."""

from __future__ import annotations

from dataclasses import replace

from tests.support.pages import make_document, make_report, make_result
from vopcli.config.choices import DatasetName
from vopcli.evaluation.compare import result_intervals
from vopcli.evaluation.results import EvalResult
from vopcli.reports.tables import Cell, Table, fold_columns, name_results
from vopcli.reports.tables import results_table as make_table

GOOD = make_result("P", 30_720, [1, 1, 2, 11])
POOR = make_result("zero-shot", 0, [1, 7, 9, 30])


def results_table(results: list[EvalResult]) -> Table:
    return make_table(results, [{}] * len(results))


def test_figures_stand_under_their_headings() -> None:
    table = results_table([POOR, GOOD])
    assert sum(span for _, span in table.groups) == len(table.columns)
    texts = [[cell.text for cell in row] for row in table.rows]
    way = ["50.0", "75.0", "75.0", "2.0", "3.8"]
    assert texts[1] == ["P", *way, *way, "30,720"], "the variant repeats the name"


def test_intervals_stand_beside_their_recalls() -> None:
    intervals = result_intervals(GOOD)
    [row] = make_table([GOOD], [intervals]).rows
    found = intervals["t2v", "R@1"]
    assert (row[1].text, row[1].spread) == ("50.0", f"{found.low:.1f}–{found.high:.1f}")
    assert [bool(cell.spread) for cell in row] == [False, *[True, True, True, False, False] * 2, False]
    assert any("95 % intervals" in note for note in make_table([GOOD], [intervals]).notes)


def test_columns_of_one_value_become_notes() -> None:
    columns = ["method", "R@1", "publ.", "runs", "on", "variant"]
    rows = [
        [Cell(text) for text in (name, "1.0", "", "2", on, name)] for name, on in (("P", "a"), ("F", "b"))
    ]
    table = fold_columns(Table("", [("", 1), ("way", 2), ("", 3)], columns, rows, ["first"]))
    assert list(table.columns) == ["method", "R@1", "on"], "metrics are never folded"
    assert [[cell.text for cell in row] for row in table.rows] == [["P", "1.0", "a"], ["F", "1.0", "b"]]
    assert (list(table.groups), list(table.notes)) == (
        [("", 1), ("way", 1), ("", 1)],
        ["first", "In all rows: runs 2."],
    )
    assert list(fold_columns(Table("", [], columns, rows[:1])).columns) == ["method", "R@1", "runs", "on"]


def test_sentences_have_the_metrics_of_partially_relevant_retrieval() -> None:
    table = results_table([make_result("P", 9, [1, 1, 2, 11], queries="sentences")])
    assert list(table.columns[1:6]) == ["R@1", "R@5", "R@10", "R@100", "SumR"]
    way = ["50.0", "75.0", "75.0", "100.0", "300.0"]
    assert [cell.text for cell in table.rows[0][1:11]] == [*way, *way]
    assert any("whole video: not comparable with paragraphs" in note for note in table.notes)


def test_the_best_is_marked_and_ranks_are_better_when_low() -> None:
    rows = results_table([POOR, GOOD]).rows
    assert {cell.kind for cell in rows[0][1:]} == {""}
    assert [cell.kind for cell in rows[1][1:11]] == ["best", "best", "", "best", "best"] * 2
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
    assert [len(name) for name in long] == [27, 27]
    assert len(set(named(*("runs/" + start + "x" * 60 for start in "ab")))) == 2
    assert named(*(f"{'x' * 60}{part}{'x' * 60}" for part in "ab")) == [
        "x" * 60 + part + "x" * 60 for part in "ab"
    ]
