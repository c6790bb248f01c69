"""Markers read back give the ranges of the hits, in frames of each rate."""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.videos import make_video
from vopcli.errors import FileError, UsageError, VideoError
from vopcli.search.hits import Hit
from vopcli.search.markers import check_markers, editing_rate, write_markers

otio = pytest.importorskip("opentimelineio", reason="needs the extra: pip install -e .[edit]")

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60000, 1001)]
HITS = [
    Hit(1, 0.31, Path("/videos/a b#1.mp4"), "a b#1.mp4", 60.06, 70.0, 62.44, 80.0),
    Hit(2, 0.29, Path("/videos/ü.mp4"), "ü.mp4", 3599.9, 3610.0, 3600.0, 3620.0),
    Hit(3, 0.28, Path("/videos/a b#1.mp4"), "a b#1.mp4", 0.0, 0.001, 0.0, 80.0),
]


def write(target: Path, rate: Fraction) -> Path:
    write_markers(target, "a dog", HITS, [rate] * 3, overwrite=False)
    return target


def drop_frame(frame: int, nominal: int) -> str:
    """The timecode of a frame by counting: each minute but the tenth leaves out two (four at 60)."""
    skipped = nominal // 15
    minutes = 0
    left = frame
    while left >= (size := nominal * 60 - (skipped if minutes % 10 else 0)):
        left -= size
        minutes += 1
    left += skipped if minutes % 10 else 0
    return f"{minutes // 60:02}:{minutes % 60:02}:{left // nominal:02};{left % nominal:02}"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", [".edl", ".otio"])
def test_clips_read_back(suffix: str, rate: Fraction, tmp_path: Path) -> None:
    file = write(tmp_path / f"markers{suffix}", rate)
    options: dict[str, Any] = {"rate": float(rate)} if suffix == ".edl" else {}
    timeline = otio.adapters.read_from_file(str(file), **options)
    clips = list(timeline.find_clips())
    assert timeline.name == "a dog"
    assert [clip.name for clip in clips] == ["a b#1.mp4", "ü.mp4", "a b#1.mp4"]
    assert clips[0].media_reference.target_url == "file:///videos/a%20b%231.mp4"
    for clip, hit in zip(clips, HITS, strict=True):
        first, last = (
            edge.value for edge in (clip.source_range.start_time, clip.source_range.end_time_exclusive())
        )
        assert first == pytest.approx(float(hit.start * rate), abs=0.51)
        assert last == pytest.approx(max(float(hit.end * rate), first + 1), abs=0.51)
        assert clip.source_range.start_time.rate == pytest.approx(float(rate))
    if suffix == ".otio":
        assert [clip.metadata["vop"]["rank"] for clip in clips] == [1, 2, 3]
        assert [clip.markers[0].name for clip in clips] == ["1: 0.310", "2: 0.290", "3: 0.280"]


@pytest.mark.parametrize(("rate", "nominal"), [(Fraction(30000, 1001), 30), (Fraction(60000, 1001), 60)])
def test_drop_frame_timecodes_of_an_edl(rate: Fraction, nominal: int, tmp_path: Path) -> None:
    text = write(tmp_path / "markers.edl", rate).read_text(encoding="utf-8")
    assert "FCM: DROP FRAME" in text
    events = [line.split()[4:6] for line in text.splitlines() if re.match(r"\d{3} ", line)]
    for event, hit in zip(events[:2], HITS, strict=False):
        assert event == [drop_frame(round(time * rate), nominal) for time in (hit.start, hit.end)]
    assert drop_frame(1800, 30) == "00:01:00;02"  # the known first jump
    assert drop_frame(107892, 30) == "01:00:00;00"


def test_an_edl_of_mixed_rates_has_one_rate_and_no_gaps(tmp_path: Path) -> None:
    write_markers(tmp_path / "m.edl", "q", HITS, [RATES[1], RATES[3], RATES[1]], overwrite=False)
    text = (tmp_path / "m.edl").read_text(encoding="utf-8")
    assert "FCM: NON-DROP FRAME" in text
    events = [line.split()[6:8] for line in text.splitlines() if re.match(r"\d{3} ", line)]
    assert [start for start, _ in events[1:]] == [end for _, end in events[:-1]]


@pytest.mark.parametrize("rate", RATES)
def test_final_cut_xml_counts_in_whole_frames(rate: Fraction, tmp_path: Path) -> None:
    root = ElementTree.parse(write(tmp_path / "markers.fcpxml", rate)).getroot()  # noqa: S314
    form = root.find("resources/format")
    assert form is not None
    assert Fraction(form.attrib["frameDuration"][:-1]) == 1 / rate
    clips = root.findall(".//asset-clip")
    assert len(clips) == 3
    assert len(root.findall("resources/asset")) == 2
    end = Fraction(0)
    for clip, hit in zip(clips, HITS, strict=True):
        offset, start, duration = (
            Fraction(clip.attrib[name][:-1]) for name in ("offset", "start", "duration")
        )
        assert offset == end
        assert all((time * rate).denominator == 1 for time in (start, duration))
        assert float(start) == pytest.approx(hit.start, abs=float(0.51 / rate))
        assert float(duration) == pytest.approx(hit.end - hit.start, abs=float(1.01 / rate))
        assert clip.attrib["tcFormat"] == ("DF" if rate.denominator == 1001 and rate > 24 else "NDF")
        end += duration


def test_csv_read_back(tmp_path: Path) -> None:
    with write(tmp_path / "markers.csv", RATES[0]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["rank"]), row["file"], float(row["start"])) for row in rows] == [
        (hit.rank, str(hit.file), hit.start) for hit in HITS
    ]


def test_the_rate_of_a_video_is_one_that_editors_know(tmp_path: Path) -> None:
    for fps, rate in (("30000/1001", RATES[2]), ("25", 25), ("12", RATES[0]), ("59.94", RATES[3])):
        source = make_video(tmp_path / "video.mkv", num_frames=30, fps=fps)
        assert editing_rate(str(source)) == rate
    with pytest.raises(VideoError):
        editing_rate(str(tmp_path / "none.mp4"))


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no known suffix") as caught:
        check_markers(tmp_path / "markers.xml")
    assert ".fcpxml" in caught.value.hint
    write(tmp_path / "markers.csv", RATES[0])
    with pytest.raises(FileError, match="exists already"):
        write(tmp_path / "markers.csv", RATES[0])
    monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        check_markers(tmp_path / "new.edl")
    assert 'pip install "vopcli[edit]"' in caught.value.hint
    check_markers(tmp_path / "new.fcpxml")
