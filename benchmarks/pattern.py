"""Make the test pattern that benchmarks decode."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

FFMPEG = (imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y")
X264 = "-c:v libx264 -preset fast -crf 26 -pix_fmt yuv420p -g 250 -sc_threshold 0"


def make_pattern(
    path: Path, options: str = X264, *, size: str = "1280x720", fps: int = 30, seconds: int
) -> Path:
    """Code a moving test pattern with a little noise, unless ``path`` exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        source = f"testsrc2=s={size}:r={fps}:d={seconds},noise=alls=6:allf=t"
        unfinished = path.with_stem("unfinished")
        subprocess.run([*FFMPEG, "-f", "lavfi", "-i", source, *options.split(), unfinished], check=True)
        unfinished.rename(path)
    return path
