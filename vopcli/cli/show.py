"""Outputs of ``vop search`` other than its list: clips, a contact sheet, markers, a player, thumbnails."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vopcli.cli import console
from vopcli.errors import UsageError, VideoError
from vopcli.files.atomic import refuse_existing

if TYPE_CHECKING:
    from fractions import Fraction

    from PIL import Image

    from vopcli.search.hits import Hit


@dataclass(frozen=True)
class Outputs:
    """Outputs of a search other than its list; None: not requested.

    Attributes:
        clips: folder for the clips.
        pad: seconds to add before and after each hit.
        copy: cut clips without re-encoding.
        sheet: image file of the contact sheet.
        markers: file of markers.
        open_rank: rank of the hit to open in a player.
        player: command of the player.
        thumbnails: print frames on the terminal.
        overwrite: replace existing files.
    """

    clips: Path | None
    pad: float | None
    copy: bool
    sheet: Path | None
    markers: Path | None
    open_rank: int | None
    player: str | None
    thumbnails: bool
    overwrite: bool

    def __bool__(self) -> bool:
        return bool(self.clips or self.sheet or self.markers or self.open_rank or self.thumbnails)

    def check(self, *, is_many: bool) -> None:
        """Check options, files and programs before the search.

        Raises:
            UsageError: options contradict each other, a suffix is unknown, or a package or player is missing.
            FileError: a file exists.
        """
        if self.clips and self.clips.exists() and not self.clips.is_dir():
            raise UsageError(f"--clips {self.clips} is not a folder", hint="name a folder")
        if (self.copy or self.pad is not None) and self.clips is None:
            raise UsageError("--copy and --pad need --clips", hint="name a folder with --clips DIR")
        if is_many and self:
            raise UsageError(
                "clips, sheets, markers, players and thumbnails take one query",
                hint="pass a query instead of -",
            )
        if self.sheet:
            from vopcli.search.sheet import check_sheet

            check_sheet(self.sheet)
        if self.markers:
            from vopcli.search.markers import check_markers

            check_markers(self.markers)
        if self.open_rank:
            from vopcli.search.player import player_command

            player_command(self.player)
        if self.thumbnails and _is_interactive():
            _pictures()
        for target in (self.sheet, self.markers):
            if target is not None:
                refuse_existing(target, overwrite=self.overwrite)

    def show(self, query: str, hits: "Sequence[Hit]") -> int:
        """Write or show the hits of a query; return how many could not be.

        Raises:
            UsageError: the rank to open is more than the number of hits.
            DataError: a file exists or cannot be written, or the player fails.
        """
        failures: set[int] = set()
        if self.thumbnails:
            _print_thumbnails(hits, failures)
        if self.clips:
            self._cut(self.clips, hits, failures)
        if self.sheet:
            self._draw(self.sheet, query, hits, failures)
        if self.markers:
            self._mark(self.markers, query, hits, failures)
        if self.open_rank:
            self._open(self.open_rank, hits)
        return len(failures)

    def _cut(self, folder: Path, hits: "Sequence[Hit]", failures: set[int]) -> None:
        from vopcli.search.hits import format_time
        from vopcli.video.clip import clip_suffix, cut_clip

        digits, pad = len(str(len(hits))), self.pad or 0.0
        targets = {
            hit: folder / f"{hit.rank:0{digits}}-{hit.file.stem[:50]}-{hit.start:.1f}s"
            f"{clip_suffix(hit.file, copy=self.copy)}"
            for hit in hits
        }
        for target in targets.values():
            refuse_existing(target, overwrite=self.overwrite)
        for hit, target in targets.items():
            try:
                start, end = cut_clip(
                    str(hit.file),
                    target,
                    hit.start - pad,
                    hit.end + pad,
                    copy=self.copy,
                    overwrite=self.overwrite,
                )
                console.say(f"{target}: {format_time(start)} to {format_time(end)}")
            except VideoError as error:
                _fail(hit, error, failures)

    def _draw(self, target: Path, query: str, hits: "Sequence[Hit]", failures: set[int]) -> None:
        from vopcli.search.hits import format_range
        from vopcli.search.sheet import write_sheet

        rows = [(hit, format_range(hit), _strip(hit, failures)) for hit in hits]
        write_sheet(target, query, rows, overwrite=self.overwrite)

    def _mark(self, target: Path, query: str, hits: "Sequence[Hit]", failures: set[int]) -> None:
        from vopcli.search.markers import editing_rate, write_markers

        rates: dict[Hit, Fraction] = {}
        if target.suffix.lower() == ".csv":
            write_markers(target, query, hits, [], overwrite=self.overwrite)
            return
        for hit in hits:
            try:
                rates[hit] = editing_rate(str(hit.file))
            except VideoError as error:
                _fail(hit, error, failures)
        if rates:
            write_markers(target, query, list(rates), list(rates.values()), overwrite=self.overwrite)

    def _open(self, rank: int, hits: "Sequence[Hit]") -> None:
        from vopcli.search.player import play, player_command

        if rank > len(hits):
            raise UsageError(
                f"hit {rank} does not exist: the search found {len(hits)} hits", hint="see --top"
            )
        play(player_command(self.player), hits[rank - 1])


def _strip(hit: "Hit", failures: set[int]) -> "Image.Image | str":
    from vopcli.search.sheet import draw_strip

    try:
        return draw_strip(hit)
    except VideoError as error:
        _fail(hit, error, failures)
        return error.reason(str(hit.file))


def _fail(hit: "Hit", error: VideoError, failures: set[int]) -> None:
    """Report a hit that cannot be shown, once."""
    if hit.rank not in failures:
        console.say(f"Failed: {hit.file}: {error.reason(str(hit.file))}")
    failures.add(hit.rank)


def _print_thumbnails(hits: "Sequence[Hit]", failures: set[int]) -> None:
    picture = _picture_class()
    if picture is None:
        return
    from rich.console import Console

    terminal = Console(file=sys.stdout)
    for hit in hits:
        strip = _strip(hit, failures)
        if not isinstance(strip, str):
            terminal.print(f"{hit.rank}", highlight=False)
            terminal.print(picture(strip, width=min(terminal.width, 100), height="auto"))


def _is_interactive() -> bool:
    """Whether the terminal can be queried: its answer comes on the input."""
    return sys.stdout.isatty() and sys.stdin.isatty()


def _picture_class() -> Any:
    """Return the class that prints pictures on this terminal; say why if there is none."""
    if not _is_interactive():
        console.say("no thumbnails: input and output are not a terminal")
        return None
    pictures = _pictures()
    if pictures.Image not in {pictures.SixelImage, pictures.TGPImage}:
        console.say("no thumbnails: this terminal shows no pictures (kitty, iTerm2 and others with sixel do)")
        return None
    return pictures.Image


def _pictures() -> Any:
    """Import the package that prints pictures.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from textual_image import renderable
    except ImportError:
        raise UsageError(
            "--thumbnails needs textual-image, which is not installed",
            hint='run `pip install "vopcli[thumbnails]"`',
        ) from None
    return renderable
