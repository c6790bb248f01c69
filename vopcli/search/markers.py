"""Write hits as markers or clips for video editors: CSV, EDL, OpenTimelineIO, Final Cut Pro XML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as Xml

from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.errors import UsageError
from vopcli.files.atomic import atomic_path
from vopcli.search.hits import FIELDS, Hit
from vopcli.video.packets import open_video

_RATES: Final = [Fraction(rate) for rate in ("24000/1001", 24, 25, "30000/1001", 30, 50, "60000/1001", 60)]
_DROP_FRAME: Final = {Fraction(30000, 1001), Fraction(60000, 1001)}


def editing_rate(path: str) -> Fraction:
    """Return the frames per second at which an editor places a video: the nearest one with a timecode.

    Raises:
        VideoError: ``path`` is not a video.
    """
    container, stream = open_video(path, DEFAULT_MAX_PIXELS)
    with container:
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return min(_RATES, key=lambda known: abs(known - rate))


def write_markers(
    target: Path, title: str, hits: Sequence[Hit], rates: Sequence[Fraction], *, overwrite: bool
) -> None:
    """Write one marker or clip per hit.

    Args:
        target: the file to write; its suffix is one of ``WRITERS``.
        title: name of the timeline.
        hits: in order of rank.
        rates: frames per second of the video of each hit; unused by CSV.
        overwrite: replace ``target`` if it exists.

    Raises:
        UsageError: the suffix is unknown, or OpenTimelineIO is not installed.
        FileError: ``target`` exists or cannot be written.
    """
    check_markers(target)
    content = WRITERS[target.suffix.lower()](title, hits, rates)
    with atomic_path(target, is_new=not overwrite) as temporary:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")


def check_markers(target: Path) -> None:
    """Check that a file of markers can be written.

    Raises:
        UsageError: the suffix is unknown, or OpenTimelineIO is not installed.
    """
    suffix = target.suffix.lower()
    if suffix not in WRITERS:
        raise UsageError(f"{target} has no known suffix for markers", hint=f"use one of {', '.join(WRITERS)}")
    if suffix in {".edl", ".otio"}:
        try:
            import opentimelineio  # noqa: F401
            import otio_cmx3600_adapter  # noqa: F401
        except ImportError:
            raise UsageError(
                f"{suffix} files need OpenTimelineIO, which is not installed",
                hint='run `pip install "vopcli[edit]"`, or write .csv or .fcpxml',
            ) from None


def _csv(title: str, hits: Sequence[Hit], rates: Sequence[Fraction]) -> str:
    del title, rates
    text = io.StringIO()
    rows = csv.DictWriter(text, FIELDS)
    rows.writeheader()
    rows.writerows({name: getattr(hit, name) for name in FIELDS} for hit in hits)
    return text.getvalue()


def _frames(hit: Hit, rate: Fraction) -> tuple[int, int]:
    """Return the first frame of a hit and the number of its frames, at least one."""
    first = round(hit.start * rate)
    return first, max(round(hit.end * rate) - first, 1)


def _timeline(title: str, hits: Sequence[Hit], rates: Sequence[Fraction]) -> Any:
    import opentimelineio as otio

    timeline = otio.schema.Timeline(name=title)
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for hit, rate in zip(hits, rates, strict=True):
        first, count = (otio.opentime.RationalTime(number, float(rate)) for number in _frames(hit, rate))
        clip = otio.schema.Clip(
            name=hit.file.name,
            media_reference=otio.schema.ExternalReference(hit.file.as_uri()),
            source_range=otio.opentime.TimeRange(first, count),
            metadata={"vop": {"rank": hit.rank, "score": hit.score, "path": hit.path}},
        )
        frame = otio.opentime.RationalTime(1, float(rate))
        best = otio.opentime.RationalTime(round(hit.best * rate), float(rate))
        clip.markers.append(
            otio.schema.Marker(_label(hit), otio.opentime.TimeRange(best, frame), color="RED")
        )
        track.append(clip)
    return timeline


def _label(hit: Hit) -> str:
    return f"{hit.rank}: {hit.score:.3f}"


def _otio(title: str, hits: Sequence[Hit], rates: Sequence[Fraction]) -> str:
    import opentimelineio as otio

    return str(otio.adapters.write_to_string(_timeline(title, hits, rates), "otio_json"))


def _edl(title: str, hits: Sequence[Hit], rates: Sequence[Fraction]) -> str:
    """Return an EDL, which has one rate: that of the first hit."""
    import opentimelineio as otio

    timeline = _timeline(title, hits, [rates[0]] * len(hits))
    text = otio.adapters.write_to_string(timeline, "cmx_3600", rate=float(rates[0]))
    mode = "DROP FRAME" if rates[0] in _DROP_FRAME else "NON-DROP FRAME"
    return str(text).replace("\n\n", f"\nFCM: {mode}\n\n", 1)


def _fcpxml(title: str, hits: Sequence[Hit], rates: Sequence[Fraction]) -> str:
    """Return Final Cut Pro XML 1.8; OpenTimelineIO's own writer has no valid form for 29.97 frames/s."""
    root = Xml.Element("fcpxml", version="1.8")
    resources = Xml.SubElement(root, "resources")
    formats = {rate: f"r{number}" for number, rate in enumerate(dict.fromkeys(rates), 1)}
    for rate, name in formats.items():
        Xml.SubElement(resources, "format", id=name, frameDuration=_seconds(1 / rate))
    event = Xml.SubElement(Xml.SubElement(root, "library"), "event", name="vop")
    project = Xml.SubElement(event, "project", name=title)
    sequence = Xml.SubElement(project, "sequence", format=formats[rates[0]], tcFormat=_code(rates[0]))
    spine = Xml.SubElement(sequence, "spine")
    offset = Fraction(0)
    assets: dict[Path, str] = {}
    for hit, rate in zip(hits, rates, strict=True):
        first, _ = _frames(hit, rate)
        count = _frames(hit, rates[0])[1]  # on the timeline
        if hit.file not in assets:
            assets[hit.file] = f"a{len(assets) + 1}"
            Xml.SubElement(
                resources, "asset", id=assets[hit.file], name=hit.file.name, src=hit.file.as_uri(),
                start="0s", hasVideo="1", hasAudio="1", format=formats[rate],
            )  # fmt: skip
        clip = Xml.SubElement(
            spine, "asset-clip", name=hit.file.name, ref=assets[hit.file], offset=_seconds(offset),
            start=_seconds(first / rate), duration=_seconds(count / rates[0]), tcFormat=_code(rate),
        )  # fmt: skip
        best = round(hit.best * rate) / rate
        Xml.SubElement(clip, "marker", start=_seconds(best), duration=_seconds(1 / rate), value=_label(hit))
        offset += count / rates[0]
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n' + Xml.tostring(
        root, encoding="unicode"
    )


def _seconds(time: Fraction) -> str:
    return f"{time.numerator}/{time.denominator}s" if time.denominator > 1 else f"{time.numerator}s"


def _code(rate: Fraction) -> str:
    return "DF" if rate in _DROP_FRAME else "NDF"


WRITERS: Final[dict[str, Callable[[str, Sequence[Hit], Sequence[Fraction]], str]]] = {
    ".csv": _csv,
    ".edl": _edl,
    ".otio": _otio,
    ".fcpxml": _fcpxml,
}
