"""Pages: valid, self-contained, the same as the golden one, and proof against what users write."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.pages import Outline, make_report, make_result
from vopcli.evaluation.results import Answer, EvalResult
from vopcli.reports.answers import DIFFERENT, choose_different, show_queries
from vopcli.reports.curves import rank_histograms, training_curves
from vopcli.reports.groups import group_runs
from vopcli.reports.html import Page, Section, render, render_figure
from vopcli.reports.paper import recall_figure
from vopcli.reports.plots import Line, Point, histogram, line_chart
from vopcli.reports.sources import from_result
from vopcli.reports.tables import name_results, results_table

RESULTS = [
    make_result("zero-shot", 0, [1.0, 12.0, 3.0, 1.5]),
    make_result("VoP", 122_880, [1.0, 4.0, 1.0, 1.0]),
    make_result("P+F", 402_432, [2.0, 1.0, 1.0, 1.0]),
]
LOG = [
    {"step": 1, "kind": "train", "loss": 3.4, "lr": 1e-3},
    {"step": 40, "kind": "train", "loss": 1.25, "lr": 2e-4},
    {"step": 40, "kind": "val", "t2v R@1": 41.5},
]
LATER = [{**line, "loss": line["loss"] + 1} if "loss" in line else line for line in LOG]


def make_page(results: list[EvalResult] = RESULTS) -> Page:
    names = name_results(results)
    measured = [from_result(result) for result in results]
    groups = group_runs(measured)
    histograms = rank_histograms(groups)
    curves = training_curves(
        group_runs(
            [replace(measured[0], log=log, num_epochs=2, seed=seed) for seed, log in enumerate([LOG, LATER])]
        )
    )
    assert histograms
    assert curves
    queries = show_queries(
        results, names, choose_different(results, 2), lambda _: ["data:image/jpeg;base64,AAAA"]
    )
    sections = [
        Section("Results", tables=[results_table(results, [item.intervals for item in measured])]),
        recall_figure(groups, None) or Section("one point"),
        histograms,
        curves,
        Section("Where the models differ", queries=queries, notes=[DIFFERENT]),
    ]
    return Page("Text-video retrieval", [("Data", "a & b"), ("Command", "vop eval")], sections)


def test_the_page_is_the_golden_one(check_golden: Callable[[str, str], None]) -> None:
    check_golden("page.html", render(make_page()))


def test_a_missing_golden_file_fails(
    check_golden: Callable[[str, str], None], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--update-golden"):
        return
    with pytest.raises(AssertionError, match=r"none\.html is missing: write it with --update-golden"):
        check_golden("none.html", "")


def test_the_page_is_balanced_and_needs_nothing_else() -> None:
    text = render(make_page())
    outline = Outline(text)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in outline.tags}
    links = [
        value
        for _, attributes in outline.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset"}
    ]
    anchors = [link for link in links if link.startswith("#")]
    assert anchors == [f"#{section['id']}" for section in outline.named("section")]
    assert len(links) > len(anchors) == 5
    assert all(link.startswith("data:image/jpeg;base64,") for link in links if link not in anchors)
    assert not re.search(r"https?:|//\w|url\(|@import", text)


def test_every_coordinate_is_a_finite_number_within_the_picture() -> None:
    outline = Outline(render(make_page()))
    numbers = [
        float(number)
        for tag, attributes in outline.tags
        for name, value in attributes.items()
        if name in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "points"} and tag != "svg"
        for number in re.split("[ ,]", value)
    ]
    assert len(numbers) > 100
    assert all(0 <= number <= 680 for number in numbers)


def test_what_users_write_is_text_and_never_markup() -> None:
    evil = '<script>alert("1")</script>&amp;\'"><img src=http://x.test/>'
    results = [
        make_result(
            "P",
            10,
            [1.0, 3.0],
            target=evil,
            weights=evil,
            pooling=evil,
            selected={"rule": evil, "on": evil, "epoch": 0},
            data=make_report(2, notes=[evil]),
        ),
        make_result("P", 20, [2.0, 1.0], target=f"{evil}2", weights=evil),
    ]
    answers = [Answer(evil, f"{evil}.mp4", answer.first) for answer in results[0].answers]
    results = [replace(result, answers=answers) for result in results]
    outline = Outline(render(make_page(results)))
    assert not outline.named("script")
    assert all(attributes["src"].startswith("data:") for attributes in outline.named("img"))
    assert outline.text.count(evil) >= 6
    assert f"frame 1 of {evil}.mp4" in [attributes["alt"] for attributes in outline.named("img")]


def test_control_characters_and_broken_names_are_shown_escaped() -> None:
    results = [make_result("P", 10, [1.0, 2.0])]
    first, second = results[0].answers
    strange = replace(first, caption="a\x1b[31m\x00b", video="bad\udc80name.mp4")
    results = [replace(results[0], answers=[strange, second])]
    text = render(make_page(results))
    assert "a\\x1b[31m\\x00b" in text
    assert "bad\\udc80name.mp4" in text
    text.encode("utf-8")
    assert "naïve — 狗" in render(Page("naïve — 狗"))


def test_right_and_wrong_are_told_in_words() -> None:
    text = " ".join(Outline(render(make_page())).text.split())
    shown = text[text.rindex("Where the models differ") :]
    assert shown.index("caption 1") < shown.index("caption 2"), "ratio 12 before ratio 3"
    assert "✓ right 1.mp4 zero-shot rank 12 1 2 ✓ VoP rank 4 1 2 ✓ P+F rank 1 1 ✓ 2" in shown


def test_sixteen_series_look_different() -> None:
    lines = [Line(str(series), [Point(0, 1, series=series)], series) for series in range(16)]
    chart = line_chart("", lines, x_label="", y_label="")
    text = render(Page("", [], [Section("", charts=[chart])]))
    marks = re.findall(r'<g class="(mark s\d)"><title>[^<]*</title>\s*<(\w+) ([^>]*)/>', text)
    assert len(marks) == 16
    assert len(set(marks)) == 16, "colour or shape"


def test_a_figure_is_a_file_of_its_own_without_variables() -> None:
    evil = '</title><script>&"'
    chart = line_chart(evil, [Line(evil, [Point(0, 1, evil)], 0)], x_label=evil, y_label=evil)
    root = ElementTree.fromstring(  # noqa: S314
        render_figure(chart, [(evil, 0), ("b", 1)])
    )
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [part for part in root.iter() if part.tag.endswith("script")]
    texts = [part.text for part in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count(evil) == 3, "both axes and the legend"
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    assert "#0b62c4" in str(style.text)
    assert "var(" not in str(style.text)


def test_bars_of_one_colour_differ_in_shade_and_the_legend_shows_it() -> None:
    rows = [[Point(0, 50, "a", series=series)] for series in (0, 24)]
    chart = histogram("", ["1"], rows, x_label="", y_label="")
    text = render(Page("", sections=[Section("", charts=[chart], legend=[("a", 0), ("b", 24)])]))
    shades = re.findall(r'<rect class="s0" fill-opacity="([\d.]+)"', text)
    assert len(set(shades)) == 2
    assert shades[:2] == shades[2:], "of the legend, then of the bars"
