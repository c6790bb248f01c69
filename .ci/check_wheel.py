"""Build the wheel, install it in a fresh virtual environment far from the checkout, and search there.

The packages that the wheel requires, and no others, are linked from this environment: installing them again
would take minutes.
"""

import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def run(*command: object, folder: Path) -> str:
    """Run a command in ``folder`` and return what it printed."""
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    return subprocess.run(words, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def required(name: str) -> Iterator[Distribution]:
    """Yield the packages that a package requires, and those that they require."""
    open_ends, seen = [(name, "")], set()
    while open_ends:
        name, extra = open_ends.pop()
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                found = {(canonicalize_name(needed.name), one) for one in ("", *needed.extras)}
                open_ends += found - seen
                seen |= found
    yield from map(distribution, sorted({name for name, _ in seen}))


def link(packages: Iterator[Distribution], place: Path) -> None:
    """Link the files of packages into the folder of packages ``place``, but not their programs."""
    for package in packages:
        for file in package.files or ():
            if ".." not in file.parts:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).symlink_to(file.locate())


with tempfile.TemporaryDirectory(prefix="vop-wheel-") as name:
    folder = Path(name)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT, folder=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv")
    python, vop = folder / "venv/bin/python", folder / "venv/bin/vop"
    place = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder)
    link(required("vopcli"), Path(place.strip()))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    run(*pip, wheel, folder=folder)  # fails where a requirement is not there
    assert "search" in run(vop, "--help", folder=folder)
    run(vop, "demo", "set", "--quiet", folder=folder)
    run(vop, "extract-frames", "videos/", "out.h5", "--num-frames", "3", "--quiet", folder=folder / "set")
    run(vop, "encode", "out.h5", "idx.h5", "--quiet", folder=folder / "set")
    run(vop, "train", "--variant", "VoP", "--epochs", "1", "--quiet", folder=folder / "set")
    run(vop, "eval", "zero-shot", "runs/VoP-seed0", "--html", "page.html", "--quiet", folder=folder / "set")
    assert "VoP" in run(vop, "report", "runs/VoP-seed0", "--quiet", folder=folder / "set")
    presets = (
        "from vopcli.config import load; print([load.load_config(preset=n) for n in load.preset_names()])"
    )
    assert "msrvtt-9k" in run(python, "-c", presets, folder=folder)
    assert "</html>" in (folder / "set/page.html").read_text(encoding="utf-8")
    found = run(vop, "search", "a red circle", "--index", "idx.h5", folder=folder / "set")
    print(found)
    assert "red" in found.splitlines()[0]
    assert "circle" in found.splitlines()[0]
