"""A contact sheet shows the frames of each hit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.videos import drawn_number, make_video
from vopcli.errors import FileError, UsageError
from vopcli.search.hits import Hit
from vopcli.search.sheet import check_sheet, draw_strip, still_times, write_sheet


def test_the_best_frame_is_in_the_middle(tmp_path: Path) -> None:
    hit = Hit(
        1, 0.3, make_video(tmp_path / "video.mp4", width=256, height=144), "video.mp4", 0.4, 2.41, 0.8, 2.4
    )
    assert still_times(hit) == pytest.approx([0.4, 0.6, 0.8, 1.605, 2.41])
    strip = np.asarray(draw_strip(hit))
    assert strip.shape == (144, 5 * 256 + 4 * 6, 3)
    cells = [strip[:, number * 262 : number * 262 + 256] for number in range(5)]
    assert [drawn_number(cell) for cell in cells] == [10, 15, 20, 40, 59]
    borders = [bool(np.abs(cell[0].astype(int) - (255, 176, 0)).max() < 40) for cell in cells]
    assert borders == [False, False, True, False, False]


def test_a_best_frame_at_an_end_of_the_range() -> None:
    for best in (0.0, 4.0):
        times = still_times(Hit(1, 0.3, Path("a"), "a", 0.0, 4.0, best, 4.0))
        assert times == sorted(times)
        assert len(times) == 5


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet.png"])
def test_a_sheet_has_a_row_per_moment(name: str, tmp_path: Path) -> None:
    hit = Hit(
        1, 0.3, make_video(tmp_path / "v.mp4"), "日本/" + "long name " * 30 + "\n.mp4", 0.0, 2.0, 1.0, 2.4
    )
    sizes = []
    for count in (1, 2, 3):
        rows = [
            (hit, "00:00.0-00:02.0", draw_strip(hit)),
            (hit, "", "it is gone"),
            (hit, "", "gone"),
        ]
        write_sheet(tmp_path / name, "a dog", rows[:count], overwrite=True)
        with Image.open(tmp_path / name) as sheet:
            assert sheet.format == {"sheet.jpg": "JPEG", "sheet.png": "PNG"}[name]
            sizes.append(sheet.height)
            pixels = np.asarray(sheet.convert("L"))
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 144
    assert pixels[:, -10:].max() < 60  # the long name ends before the margin
    with pytest.raises(FileError, match="exists already"):
        write_sheet(tmp_path / name, "a dog", rows, overwrite=False)


def test_other_suffixes_are_refused() -> None:
    with pytest.raises(UsageError, match="no known suffix for a picture"):
        check_sheet(Path("sheet.pdf"))
