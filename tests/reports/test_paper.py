"""Table 1 and figures 1 and 3: own figures, published ones in their own columns, and ablations."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.reports.test_groups import measured
from vopcli.config.choices import ContextModule, DatasetName, Variant
from vopcli.config.schema import TuningConfig
from vopcli.evaluation.bootstrap import Interval
from vopcli.methods.registry import METHODS
from vopcli.reports.groups import Group, group_runs
from vopcli.reports.paper import (
    ablation_figure,
    notes,
    paper_section,
    paper_table,
    recall_figure,
    text_table,
)

IN_PAPER = [variant for variant, method in METHODS.items() if method.published_millions is not None]
DATASET = DatasetName.MSRVTT_9K
OWN = group_runs([measured(40.0, 0), measured(43.0, 1), measured(50.0, 0, Variant.P)])


def cells(way: str, dataset: DatasetName | None, label: str) -> dict[str, str]:
    table = paper_table(OWN, dataset, way)
    headings = [
        f"{before} published" if name == "publ." else name
        for before, name in zip(["", *table.columns], table.columns, strict=False)
    ]
    rows = [[f"{cell.text} {cell.spread}".strip() for cell in row] for row in table.rows]
    [row] = [row for row in rows if row[0] == label]
    return dict(zip(headings, row, strict=True))


def test_own_and_published_figures_have_columns_of_their_own() -> None:
    row = cells("t2v", DATASET, "VoP")
    assert (row["R@1"], row["R@1 published"]) == ("41.5 ± 2.1", "39.6")
    assert (row["trained"], row["trained published"], row["runs"], row["on"]) == ("100", "0.1 M", "2", "test")
    assert (row["R@5"], row["R@5 published"]) == ("", "66.7")
    kinds = {cell.kind for line in paper_table(OWN, DATASET, "t2v").rows for cell in line[2:13:2]}
    assert kinds == {"published"}


def test_a_method_without_runs_has_an_empty_place() -> None:
    table = paper_table(OWN, DATASET, "t2v")
    assert [row[0].text for row in table.rows] == [variant.value for variant in IN_PAPER]
    row = cells("t2v", DATASET, "C+F")
    assert (row["R@1"], row["R@1 published"], row["trained"], row["runs"]) == ("", "44.6", "", "")
    assert cells("v2t", DATASET, "zero-shot")["R@1 published"] == ""


def test_without_a_benchmark_nothing_published_is_shown() -> None:
    table = paper_table(OWN, None, "t2v")
    assert [row[0].text for row in table.rows] == ["VoP", "P"]
    assert list(table.columns) == ["method", "R@1", "R@5", "R@10", "MdR", "MnR", "trained", "runs", "on"]
    assert [cell.text for cell in table.rows[0]] == ["VoP", "41.5", "", "", "", "", "100", "2", "test"]
    assert not any("authors" in note for note in notes(OWN, None))
    assert any("by the authors" in note for note in notes(OWN, DATASET))


def test_the_best_of_ones_own_is_marked_where_all_were_measured_alike() -> None:
    def best(groups: Sequence[Group], way: str = "t2v") -> list[tuple[str, str]]:
        rows = paper_table(groups, DATASET, way).rows
        return [(row[0].text, cell.text) for row in rows for cell in row if cell.kind == "best"]

    assert best(OWN) == [("P", "50.0")], "published figures do not count"
    assert best(OWN, "v2t") == []
    assert best([*OWN, *group_runs([measured(60.0, 0, Variant.C, on="val: 5 queries")])]) == []
    assert best(OWN[:1]) == []


def test_runs_of_other_data_are_told_from_those_of_the_benchmark() -> None:
    [known] = group_runs([measured(40.0, 0, dataset=DATASET)])
    assert paper_table([known], DATASET, "t2v").title == "Text to video (t2v) on msrvtt-9k"
    assert not any("Not known" in note for note in notes([known], DATASET))
    mixed = [known, OWN[1]]
    assert paper_table(mixed, DATASET, "t2v").title == "Text to video (t2v), beside msrvtt-9k as published"
    assert [note for note in notes(mixed, DATASET) if "Not known to be measured on msrvtt-9k: P." in note]


def test_other_settings_than_the_papers_stand_beside_an_open_row() -> None:
    other = TuningConfig(variant=Variant.F, split_layer=2)
    groups = group_runs([measured(40.0, 0, Variant.F, tuning=other, settings={"split_layer": 2})])
    labels = [row[0].text for row in paper_table(groups, DATASET, "t2v").rows]
    place = labels.index("F, split_layer 2")
    assert labels[place : place + 2] == ["F, split_layer 2", "F, as published"]


def test_the_terminal_has_both_directions() -> None:
    columns, rows = text_table(OWN, DATASET)
    assert {len(row) for row in rows} == {len(columns)}
    assert [row[0] for row in rows] == ["t2v"] * len(IN_PAPER) + ["v2t"] * len(IN_PAPER)


def test_notes_stand_once_below_both_directions() -> None:
    section = paper_section(OWN, DATASET)
    assert [list(table.notes) for table in section.tables] == [[], []]
    assert len(set(section.notes)) == len(section.notes)
    assert "In all rows: on test." in paper_section(OWN, None).notes
    assert list(paper_section(OWN, None).tables[0].columns) == ["method", "R@1", "runs"]
    assert not any("95 %" in note for note in section.notes)
    interval = {("t2v", "R@1"): Interval(50.0, 40.0, 60.0)}
    single = group_runs([measured(50.0, 0, Variant.P, intervals=interval)])
    assert any("95 %" in note for note in paper_section([OWN[0], *single], DATASET).notes)
    assert "50.0" in text_table(single, None)[1][0], "not on the terminal, which has vop compare"


def test_figure_1_has_own_and_published_points() -> None:
    figure = recall_figure(OWN, DATASET)
    assert figure
    [chart] = figure.charts
    own = [mark for mark in chart.marks if not mark.is_hollow]
    assert [mark.title for mark in own] == ["VoP: 41.5 ± 2.1", "P: 50"]
    assert len(chart.marks) == 2 + len(IN_PAPER)
    legend = dict(figure.legend)
    assert set(legend) == {variant.value for variant in IN_PAPER}
    assert all(mark.series == legend[mark.title.partition(":")[0]] for mark in chart.marks)
    assert any("Hollow: published" in note for note in figure.notes)
    assert recall_figure(OWN[:1], None) is None, "one point shows nothing"
    without = recall_figure(OWN, None)
    assert without
    assert (without.title, len(without.charts[0].marks)) == ("Recall against trained parameters", 2)


@pytest.mark.parametrize("dataset", [DATASET, None])
def test_figure_3_draws_the_setting_in_which_runs_differ(dataset: DatasetName | None) -> None:
    runs = [
        measured(recall + seed, seed, settings={"sides": sides, "epochs": 5})
        for sides, recall in (("both", 40.0), ("text", 30.0))
        for seed in (0, 2)
    ]
    figure = ablation_figure(group_runs(runs), dataset)
    assert figure
    [chart] = figure.charts
    assert chart.title == "By sides"
    own = [mark for mark in chart.marks if mark.series == 0]
    assert [mark.title.partition(": ")[2] for mark in own] == ["41 ± 1.4", "31 ± 1.4"]
    texts = [text for _, text in chart.x_ticks]
    published = [mark.title for mark in chart.marks if mark.series == 8]
    if dataset:
        assert texts == ["both", "text", "visual"]
        assert published == [f"VoP, published: {figure}" for figure in (39.6, 36.5, 36.3)]
    else:
        assert (texts, published) == (["both", "text"], [])


def test_numbers_are_in_order_and_depths_beyond_comparison_left_out() -> None:
    runs = [measured(k, 0, Variant.F, settings={"split_layer": k, "epochs": 5}) for k in (12, 8, 0)]
    runs.append(measured(9, 0, Variant.F, settings={"split_layer": 4, "epochs": 1}))
    figure = ablation_figure(group_runs(runs), None)
    assert figure
    assert [chart.title for chart in figure.charts] == ["By split_layer"]
    assert [text for _, text in figure.charts[0].x_ticks] == ["0", "8", "12"]
    assert ablation_figure(OWN, DATASET) is None


def test_the_papers_reader_of_frames_stands_beside_ones_own() -> None:
    runs = [
        measured(
            40,
            0,
            Variant.C,
            settings={"context_module": module.value},
            tuning=TuningConfig(variant=Variant.C, context_module=module),
        )
        for module in (ContextModule.LSTM, ContextModule.BILSTM)
    ]
    figure = ablation_figure(group_runs(runs), DATASET)
    assert figure
    titles = [mark.title for mark in figure.charts[0].marks if mark.series == 2 + 8]
    assert titles == ["C, published: 40.8", "C, published: 40.6", "C, published: 40.1"]
