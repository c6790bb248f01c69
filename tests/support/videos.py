"""Real video files for tests: made and read by an FFmpeg that is not the one under test.

Each frame has its number drawn into it, as 12 white or black cells of a 4 x 4 grid over the middle square;
its corner cells tell which way is up. It survives lossy coding, colour conversion, resizing and the crop.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

_CODE_CELLS = [cell for cell in range(16) if cell not in {0, 3, 12, 15}]
_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18")
_X265 = (
    *("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
    *("-x265-params", "log-level=error:keyint=24:bframes=3:pools=none"),
)
_VP8 = (
    *("-c:v", "libvpx", "-deadline", "good", "-cpu-used", "5", "-g", "30", "-b:v", "500k"),
    *("-auto-alt-ref", "1", "-lag-in-frames", "16"),
)
_VP9 = (
    "-c:v",
    "libvpx-vp9",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    "-g",
    "30",
    "-b:v",
    "500k",
    "-pix_fmt",
    "yuv420p",
)
_MADE: dict[tuple[str, int, tuple[str, ...]], bytes] = {}  # files of `make_video`
_AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1", "-g", "30", "-pix_fmt", "yuv420p")


@functools.cache
def ffmpeg_path() -> str:
    """Return the path of the FFmpeg program that comes with a development dependency."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def run_ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """Run FFmpeg and return what it wrote to its standard output."""
    command = [ffmpeg_path(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def numbered_frame(number: int, *, width: int, height: int) -> NDArray[np.uint8]:
    """Draw a (height, width, 3) uint8 RGB frame with a number in [0, 4096) and a moving background."""
    rows, columns = np.mgrid[:height, :width]
    frame = np.stack([(columns * 3 + number * 5) % 256, (rows * 2) % 256, (rows + columns) % 256], axis=2)
    side = min(width, height)
    top, left, cell = (height - side) // 2, (width - side) // 2, side / 4
    lit = {place for bit, place in enumerate(_CODE_CELLS) if number >> bit & 1} | {0}
    for place in range(16):
        row, column = divmod(place, 4)
        # A margin around each cell keeps the background in the picture, and the cells apart.
        down = slice(round(top + (row + 0.15) * cell), round(top + (row + 0.85) * cell))
        across = slice(round(left + (column + 0.15) * cell), round(left + (column + 0.85) * cell))
        frame[down, across] = 235 if place in lit else 20
    return frame.astype(np.uint8)


def drawn_number(frame: NDArray[np.uint8]) -> int:
    """Read the number back from a (H, W, 3) frame of any size, whole or cropped to its middle square.

    Returns:
        The number, or -1 where the corners say that the frame is turned, mirrored, black or damaged.
    """
    height, width = frame.shape[:2]
    side = min(height, width)
    square = frame[(height - side) // 2 :, (width - side) // 2 :][:side, :side].mean(axis=2)
    places = [
        (int((row + 0.5) * side / 4), int((column + 0.5) * side / 4))
        for row in range(4)
        for column in range(4)
    ]
    reach = max(side // 24, 1)
    cells = [square[y - reach : y + reach, x - reach : x + reach].mean() > 128 for y, x in places]
    if [cells[corner] for corner in (0, 3, 12, 15)] != [True, False, False, False]:
        return -1
    return sum(int(cells[place]) << bit for bit, place in enumerate(_CODE_CELLS))


def make_video(
    path: Path,
    *arguments: str,
    num_frames: int = 60,
    width: int = 128,
    height: int = 96,
    fps: str = "25",
    codec: Sequence[str] = (*_X264, "-pix_fmt", "yuv420p"),
) -> Path:
    """Write frames 0, 1, 2, ... as a video file; equal videos are encoded once in a process.

    Args:
        path: the file to write; its suffix says which container.
        arguments: more FFmpeg output options.
        num_frames: how many.
        width: in pixels.
        height: in pixels.
        fps: frames a second, as FFmpeg reads it.
        codec: FFmpeg's options for the codec and the pixel format.
    """
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", fps, "-i", "-")
    command = (*source, *codec, "-threads", "1", *arguments)
    made = (path.suffix, num_frames, command)
    if made in _MADE:
        path.write_bytes(_MADE[made])
    else:
        frames = b"".join(numbered_frame(n, width=width, height=height).tobytes() for n in range(num_frames))
        run_ffmpeg(*command, path, stdin=frames)
        _MADE[made] = path.read_bytes()
    return path


def ffmpeg_frames(path: Path, *options: str) -> NDArray[np.uint8]:
    """Decode a whole file with FFmpeg: (N, H, W, 3) uint8 RGB, upright, one for each frame it presents."""
    pam = run_ffmpeg(
        *options, "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-c:v", "ppm", "-pix_fmt", "rgb24",
        "-f", "image2pipe", "-",
    )  # fmt: skip
    frames = []
    while pam:
        _, size, _, rest = pam.split(b"\n", 3)
        width, height = map(int, size.split())
        frames.append(np.frombuffer(rest, np.uint8, width * height * 3).reshape(height, width, 3))
        pam = rest[width * height * 3 :]
    return np.stack(frames)


def ffmpeg_seconds(path: Path) -> list[float]:
    """Return when FFmpeg presents each frame, the first at 0."""
    table = run_ffmpeg(
        "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framehash", "-"
    ).decode()
    base = next(line.split()[-1] for line in table.splitlines() if line.startswith("#tb"))
    pts = [int(line.split(",")[2]) for line in table.splitlines() if not line.startswith("#")]
    return [float((value - pts[0]) * Fraction(base)) for value in pts]


def _cut(path: Path, source: Path, ratio: float) -> Path:
    """Keep the first part of a file, as a broken download does."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * ratio)])
    return path


def flip_bits(path: Path, source: Path, *, start: float, end: float, every: int) -> Path:
    """Flip a bit of every so many bytes in a part of the file."""
    content = bytearray(source.read_bytes())
    for place in range(int(len(content) * start), int(len(content) * end), every):
        content[place] ^= 1 << place % 8
    path.write_bytes(bytes(content))
    return path


def _patch(path: Path, source: Path, old: bytes, new: bytes) -> Path:
    content = source.read_bytes()
    if old not in content:
        raise ValueError(f"{source} has no {old!r}")
    path.write_bytes(content.replace(old, new, 1))
    return path


def edit_list(path: Path) -> Path:
    """Cut inside a group of pictures without coding anew: its first frames stay, but are not shown."""
    whole = make_video(path.with_name("whole.mp4"), "-g", "60")
    run_ffmpeg("-ss", "0.6", "-i", whole, "-c", "copy", path)
    return path


def lost_beginning(path: Path) -> Path:
    """A transport stream whose first third is cut off: what is left refers to frames that are gone."""
    gop = ("-g", "12", "-x264-params", "open-gop=1")
    content = make_video(path.with_stem("whole"), *gop, num_frames=90).read_bytes()
    path.write_bytes(content[len(content) // 3 // 188 * 188 :])
    return path


def variable_rate(path: Path) -> Path:
    """Frames at uneven times: every third one stays four times as long."""
    stretch = "setpts='(floor(N/3)*6+mod(N,3))/25/TB'"
    return make_video(path, "-vf", stretch, "-fps_mode", "vfr", "-g", "20")


def rotated(path: Path, degrees: int) -> Path:
    """A frame drawn turned, with a display matrix that turns it upright by ``degrees`` clockwise."""
    turned = {0: "null", 90: "transpose=2", 180: "hflip,vflip", 270: "transpose=1"}[degrees]
    plain = make_video(path.with_name("turned.mp4"), "-vf", turned, num_frames=24)
    run_ffmpeg("-display_rotation", str(-degrees), "-i", plain, "-c", "copy", path)
    return path


def mirrored(path: Path) -> Path:
    """A frame drawn mirrored, with a display matrix that mirrors it back."""
    plain = make_video(path.with_name("plain.mp4"), "-vf", "hflip", num_frames=24)
    run_ffmpeg("-display_hflip", "-i", plain, "-c", "copy", path)
    return path


def alpha_movie(path: Path) -> Path:
    """QuickTime Animation with a transparency channel."""
    return make_video(path, num_frames=24, codec=("-c:v", "qtrle", "-pix_fmt", "argb"))


def with_sound(path: Path) -> Path:
    """A video with a tone, the two interleaved."""
    silent = make_video(path.with_name("silent.mp4"), "-g", "20")
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=3", "-i", silent, "-c:v", "copy", "-c:a", "aac", path)
    return path


def audio_only(path: Path) -> Path:
    """Half a second of a tone."""
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", "-c:a", "aac", path)
    return path


def cover_picture(path: Path) -> Path:
    """A tone with a still picture attached: what a music shop sells."""
    cover = path.with_suffix(".jpg")
    run_ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", cover)
    tone = ("-f", "lavfi", "-i", "sine=duration=0.5", "-i", cover, "-map", "0", "-map", "1")
    run_ffmpeg(*tone, "-c:a", "aac", "-c:v", "copy", "-disposition:v:0", "attached_pic", path)
    return path


def no_frames(path: Path) -> Path:
    """A video stream and not one frame in it: what a recorder leaves that crashed at once."""
    flags = ("-movflags", "empty_moov+frag_keyframe") if path.suffix == ".mp4" else ()
    whole = make_video(path.with_stem("whole"), *flags, num_frames=4)
    content = whole.read_bytes()
    first_frames = content.index(b"moof") - 4 if flags else content.index(b"\x1f\x43\xb6\x75")
    path.write_bytes(content[:first_frames])
    return path


def no_keyframe_table(path: Path) -> Path:
    """An MP4 without its table of keyframes, so that every packet passes for one."""
    return _patch(path, make_video(path.with_name("table.mp4"), "-g", "60"), b"stss", b"free")


def lying_count(path: Path) -> Path:
    """An AVI whose header claims 9999 frames."""
    whole = make_video(path.with_name("whole.avi"), codec=("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"))
    content = bytearray(whole.read_bytes())
    main, stream = content.index(b"avih") + 24, content.index(b"strh") + 40
    content[main : main + 4] = content[stream : stream + 4] = (9999).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    return path


def zero_tail(path: Path) -> Path:
    """An MP4 that was downloaded to its middle into a file of full length: the rest is zeros."""
    content = make_video(path.with_name("whole.mp4"), "-movflags", "+faststart", "-g", "60").read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    return path


# Files that decode: name -> maker. The suffix is part of the name.
GOOD: dict[str, Callable[[Path], Path]] = {
    "long-gop.mp4": lambda path: make_video(path, "-g", "250", num_frames=90),
    "short-gop.mp4": lambda path: make_video(path, "-g", "12", num_frames=90),
    "no-b-frames.mp4": lambda path: make_video(path, "-g", "30", "-bf", "0"),
    "open-gop.mp4": lambda path: make_video(path, "-g", "12", "-x264-params", "open-gop=1", num_frames=90),
    "mpeg-ts.ts": lambda path: make_video(path, "-g", "15", num_frames=90),
    "open-gop.ts": lambda path: make_video(path, "-g", "12", "-x264-params", "open-gop=1", num_frames=90),
    "matroska.mkv": lambda path: make_video(path, "-g", "20"),
    "raw-stream.h264": lambda path: make_video(path, "-g", "20"),
    "hevc.mp4": lambda path: make_video(path, codec=_X265),
    "vp8.webm": lambda path: make_video(path, codec=_VP8),
    "vp9.webm": lambda path: make_video(path, codec=_VP9),
    "av1.mp4": lambda path: make_video(path, codec=_AV1),
    "mpeg4.avi": lambda path: make_video(path, codec=("-c:v", "mpeg4", "-q:v", "3", "-g", "12")),
    "mpeg4-b.avi": lambda path: make_video(
        path, codec=("-c:v", "mpeg4", "-q:v", "3", "-g", "12", "-bf", "2")
    ),
    "h264.avi": lambda path: make_video(path, "-g", "12"),
    "xvid.avi": lambda path: make_video(path, codec=("-c:v", "libxvid", "-q:v", "3", "-bf", "2", "-g", "12")),
    "mpeg2.mpg": lambda path: make_video(
        path, codec=("-c:v", "mpeg2video", "-q:v", "3", "-g", "15", "-bf", "2")
    ),
    "wmv.wmv": lambda path: make_video(path, codec=("-c:v", "wmv2", "-q:v", "3", "-g", "12")),
    "flash.flv": lambda path: make_video(path, codec=("-c:v", "flv", "-q:v", "3", "-g", "12")),
    "theora.ogv": lambda path: make_video(path, codec=("-c:v", "libtheora", "-q:v", "8", "-g", "16")),
    "mjpeg.avi": lambda path: make_video(path, codec=("-c:v", "mjpeg", "-q:v", "3"), num_frames=30),
    "prores.mov": lambda path: make_video(path, codec=("-c:v", "prores"), num_frames=30),
    "animation.gif": lambda path: make_video(path, num_frames=30, codec=("-c:v", "gif")),
    "edit-list.mp4": edit_list,
    "lost-beginning.ts": lost_beginning,
    "variable-rate.mp4": variable_rate,
    "variable-rate.mkv": variable_rate,
    "rotated-90.mp4": lambda path: rotated(path, 90),
    "rotated-180.mp4": lambda path: rotated(path, 180),
    "rotated-270.mp4": lambda path: rotated(path, 270),
    "mirrored.mp4": mirrored,
    "odd-size.webm": lambda path: make_video(path, codec=_VP9, width=129, height=97, num_frames=24),
    "odd-size.mp4": lambda path: make_video(
        path, codec=(*_X264, "-pix_fmt", "yuv444p"), width=97, height=131, num_frames=24
    ),
    "one-frame.mp4": lambda path: make_video(path, num_frames=1),
    "seven-frames.mp4": lambda path: make_video(path, num_frames=7),
    "ten-bit.mp4": lambda path: make_video(path, codec=(*_X264, "-pix_fmt", "yuv420p10le")),
    "interlaced.mp4": lambda path: make_video(
        path, "-flags", "+ilme+ildct", "-vf", "setfield=tff", "-g", "20"
    ),
    "interlaced.ts": lambda path: make_video(
        path, codec=("-c:v", "mpeg2video", "-q:v", "3", "-g", "15", "-bf", "2", "-flags", "+ilme+ildct")
    ),
    "alpha.mov": alpha_movie,
    "alpha.webm": lambda path: make_video(path, codec=(*_VP9[:-1], "yuva420p"), num_frames=24),
    "grey.mp4": lambda path: make_video(path, codec=(*_X264, "-pix_fmt", "gray"), num_frames=24),
    "rgb.mkv": lambda path: make_video(
        path, codec=("-c:v", "libx264rgb", "-preset", "veryfast", "-qp", "0"), num_frames=24
    ),
    "sound-too.mp4": with_sound,
    "tall.mp4": lambda path: make_video(path, width=96, height=320, num_frames=24),
    "no-keyframe-table.mp4": no_keyframe_table,
    "lying-count.avi": lying_count,
    "truncated.webm": lambda path: _cut(
        path, make_video(path.with_name("whole.mkv"), "-g", "20", num_frames=90), 0.6
    ),
    "truncated.mp4": lambda path: _cut(
        path,
        make_video(path.with_name("whole.mp4"), "-movflags", "+faststart", "-g", "20", num_frames=90),
        0.6,
    ),
    "truncated.ts": lambda path: _cut(
        path, make_video(path.with_name("whole.ts"), "-g", "20", num_frames=90), 0.6
    ),
    "zero-tail.mp4": zero_tail,
}


class GoodVideos(dict[str, Path]):
    """The good files by name, each made when it is first asked for, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        path = self.folder / name.replace(".", "-") / name
        path.parent.mkdir()
        self[name] = GOOD[name](path)
        return path


# Files that do not: name -> (maker, what the reason has to say).
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.mp4": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text.mp4": (lambda path: path.write_text("this is not a video\n" * 50), "not a video"),
    "subtitles.mp4": (
        lambda path: path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 9),
        "not a video",
    ),
    "playlist.mp4": (lambda path: path.write_text("#EXTM3U\n#EXTINF:5,\n/etc/hostname\n"), "not a video"),
    "noise.mp4": (lambda path: path.write_bytes(np.random.default_rng(3).bytes(50_000)), "not a video"),
    "folder.mp4": (lambda path: path.mkdir(), "not a regular file"),
    "missing.mp4": (lambda path: None, "No such file"),
    "audio-only.m4a": (audio_only, "only audio"),
    "cover-picture.m4a": (cover_picture, "only audio"),
    "no-frames.mp4": (no_frames, "video stream has no frames"),
    "cut-index.mp4": (
        lambda path: _cut(path, make_video(path.with_name("whole.mp4")), 0.8),
        "not a video",
    ),
    "no-frames.mkv": (no_frames, "ends before its first frame"),
}  # fmt: skip
