"""Contact sheets: a picture with frames of each hit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from vopcli.errors import UsageError
from vopcli.files.atomic import atomic_path
from vopcli.search.hits import Hit
from vopcli.video.chosen import read_stills

SHEET_FORMATS: Final = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_NUM_FRAMES: Final = 5  # per hit; odd, so that the best one is in the middle
_CELL: Final = (256, 144)  # width and height of a frame, pixels
_GAP: Final = 6
_MARGIN: Final = 16
_TEXT_PX, _LABEL_PX = 17, 13
_BACKGROUND, _INK, _FAINT, _ACCENT = "#16181d", "#f2f2f2", "#9aa3b2", "#ffb000"
# Fonts with the scripts that Pillow's own lacks, by the names that systems have for them.
_FONTS: Final = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "PingFang.ttc",
    "AppleSDGothicNeo.ttc", "NotoSansDevanagari-Regular.ttf", "NotoSansArabic-Regular.ttf",
)  # fmt: skip


def check_sheet(target: Path) -> None:
    """Check the suffix of a sheet.

    Raises:
        UsageError: it is not that of a picture.
    """
    if target.suffix.lower() not in SHEET_FORMATS:
        raise UsageError(
            f"{target} has no known suffix for a picture", hint=f"use one of {', '.join(SHEET_FORMATS)}"
        )


def still_times(hit: Hit) -> list[float]:
    """Return times across a hit, the best one in the middle, the others evenly before and after it."""
    half = _NUM_FRAMES // 2
    before = [hit.start + (hit.best - hit.start) * step / half for step in range(half)]
    last = max(math.nextafter(hit.end, 0.0), hit.best)
    return [
        *before,
        hit.best,
        *(hit.best + (last - hit.best) * step / half for step in range(1, half + 1)),
    ]


def draw_strip(hit: Hit) -> Image.Image:
    """Draw frames of a hit side by side, the best one with a border.

    Raises:
        VideoError: the video cannot be decoded.
    """
    width, height = _CELL
    strip = Image.new("RGB", (_NUM_FRAMES * (width + _GAP) - _GAP, height), _BACKGROUND)
    stills = read_stills(str(hit.file), still_times(hit), _CELL)
    for number, (time, still) in enumerate(zip(still_times(hit), stills, strict=True)):
        picture = ImageOps.contain(Image.fromarray(still), _CELL)
        left = number * (width + _GAP) + (width - picture.width) // 2
        top = (height - picture.height) // 2
        strip.paste(picture, (left, top))
        draw = ImageDraw.Draw(strip)
        if number == _NUM_FRAMES // 2:
            box = (left, top, left + picture.width - 1, top + picture.height - 1)
            draw.rectangle(box, outline=_ACCENT, width=3)
        place = (left + 2 * _GAP, top + picture.height - 2 * _GAP)
        font = ImageFont.load_default(_LABEL_PX)
        draw.text(
            place, f"{time:.1f} s", font=font, anchor="ls", fill=_INK, stroke_fill=_BACKGROUND, stroke_width=2
        )
    return strip


def write_sheet(
    target: Path, title: str, rows: Sequence[tuple[Hit, str, Image.Image | str]], *, overwrite: bool
) -> None:
    """Write a contact sheet.

    Args:
        target: the file to write, a JPEG or PNG.
        title: first line.
        rows: of each hit the range as text, and its strip, or the reason why it has none.
        overwrite: replace ``target`` if it exists.

    Raises:
        FileError: ``target`` exists or cannot be written.
    """
    line = round(_TEXT_PX * 1.6)
    row_height = line + _CELL[1] + _MARGIN
    width = 2 * _MARGIN + _NUM_FRAMES * (_CELL[0] + _GAP) - _GAP
    sheet = Image.new("RGB", (width, 2 * _MARGIN + line + row_height * len(rows)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN), title, _INK, width - 2 * _MARGIN)
    top = _MARGIN + line + _MARGIN // 2
    for hit, shown_range, strip in rows:
        lead = f"{hit.rank}   {hit.score:.3f}   {shown_range}   "
        left = _MARGIN + _write(draw, (_MARGIN, top), lead, _ACCENT, width)
        _write(draw, (left, top), hit.path, _INK, width - _MARGIN - left)
        if isinstance(strip, str):
            _write(draw, (_MARGIN, top + line), strip, _FAINT, width - 2 * _MARGIN)
        else:
            sheet.paste(strip, (_MARGIN, top + line))
        top += row_height
    with atomic_path(target, is_new=not overwrite) as temporary:
        sheet.save(temporary, SHEET_FORMATS[target.suffix.lower()], quality=90)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, ink: str, most: int) -> int:
    """Write a line, with an ellipsis in the middle if it is longer than ``most`` pixels; return its width."""
    text = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    font = _font_for(text)
    kept = len(text)
    while kept > 2 and draw.textlength(shown := _shortened(text, kept), font=font) > most:
        kept -= 1
    shown = _shortened(text, kept)
    draw.text(place, shown, font=font, fill=ink)
    return math.ceil(draw.textlength(shown, font=font))


def _shortened(text: str, kept: int) -> str:
    return (
        text
        if kept >= len(text)
        else f"{text[: kept // 2]}\N{HORIZONTAL ELLIPSIS}{text[-(kept - kept // 2) :]}"
    )


def _font_for(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the first font that has all characters of a text; if there is none, that with most of them."""
    fonts = [font for name in (None, *_FONTS) if (font := _font(name))]
    return max(fonts, key=lambda font: sum(_has(font, character) for character in set(text)))


@cache
def _font(name: str | None) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    """Return a font, for None that of Pillow; None if it is not installed."""
    try:
        return ImageFont.truetype(name, _TEXT_PX) if name else ImageFont.load_default(_TEXT_PX)
    except OSError:
        return None


@cache
def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, character: str) -> bool:
    """Whether a font draws a character otherwise than one that no font has."""
    drawn, unknown = (bytes(font.getmask(text)) for text in (character, "\U0010fffd"))
    return character.isspace() or drawn != unknown
