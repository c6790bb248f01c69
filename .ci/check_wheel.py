"""Build the wheel, install it in a fresh virtual environment far from the checkout, and search there."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: object, folder: Path) -> str:
    """Run a command in ``folder`` and return what it printed."""
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    return subprocess.run(words, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


with tempfile.TemporaryDirectory(prefix="vop-wheel-") as name:
    folder = Path(name)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT, folder=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python, vop = folder / "venv/bin/python", folder / "venv/bin/vop"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        ROOT / "constraints.txt",
        wheel,
        folder=folder,
    )
    assert "search" in run(vop, "--help", folder=folder)
    run(vop, "demo", "set", "--quiet", folder=folder)
    run(vop, "extract-frames", "videos/", "out.h5", "--quiet", folder=folder / "set")
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
