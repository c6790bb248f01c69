"""What a start may load: help and a plain import stay instant, a search never waits for torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import unit_rows
from tests.support.models import write_model
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.search.search import open_index
from vopcli.weights.reader import read_weights

HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "cv2",
    "av",
    "h5py",
    "numpy",
    "rich",
    "yaml",
    "safetensors",
    "ftfy",
    "logging",
}


def loaded_by(code: str) -> set[str]:
    """Run ``code`` in a new interpreter and return the names of the top-level modules it left loaded."""
    report = "\nimport sys; print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["vopcli", "vopcli.cli.app", "vopcli.config.schema"])
def test_import_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        "vopcli.search.search",
        "vopcli.frames.extract",
        "vopcli.cli.info",
        "vopcli.reports.report",
    ],
)
def test_commands_without_a_model_load_no_torch(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module.partition(".")[0] in loaded
    assert not loaded & {"torch", "torchvision", "timm", "ray"}


def test_the_probe_sees_what_is_loaded() -> None:
    assert "numpy" in loaded_by("import numpy")


SEARCH = {
    "vopcli",
    "vopcli.cli.app",
    "vopcli.cli.console",
    "vopcli.cli.options",
    "vopcli.cli.query",
    "vopcli.cli.search",
    "vopcli.clip.shape",
    "vopcli.clip.text_numpy",
    "vopcli.clip.tokenizer",
    "vopcli.config.choices",
    "vopcli.config.load",  # settings of vop.yaml; without a file, YAML is not loaded
    "vopcli.config.schema",
    "vopcli.errors",
    "vopcli.files.hdf5",
    "vopcli.files.journal",
    "vopcli.files.lock",
    "vopcli.files.s3",  # names of objects; no client
    "vopcli.files.arrays",
    "vopcli.files.safetensors",
    "vopcli.index.checksums",
    "vopcli.index.meta",
    "vopcli.index.reader",
    "vopcli.index.thumbnails",
    "vopcli.progress",
    "vopcli.resources",
    "vopcli.search.engine",
    "vopcli.search.exact",
    "vopcli.search.hits",
    "vopcli.search.query",
    "vopcli.search.query_encoder",
    "vopcli.search.ranges",
    "vopcli.search.ranking",
    "vopcli.search.search",
    "vopcli.search.stores",
    "vopcli.search.text_tower",
    "vopcli.video.video_file",
}


def test_a_search_loads_these_modules_only(tmp_path: Path) -> None:
    """A real search with its text tower in the cache; packages without code are not listed."""
    weights, index = write_model(tmp_path / "tiny.safetensors"), tmp_path / "i.h5"
    create_index(index, IndexMeta(str(weights), read_weights(weights).fingerprint(), {}, 40))
    with IndexWriter(index) as writer:
        writer.lay_out([NewVideo("/videos", "a.mp4", 1, 2, num_frames=2)])
        writer.add(
            [EncodedVideo(0, unit_rows(1)[0], unit_rows(2).astype("f2"), np.array([0.5, 1.5]), 2, 2.0)]
        )
    open_index(index).search("a dog")
    code = f"""
import sys
sys.argv = ["vop", "search", "a dog", "--index", {str(index)!r}]
from vopcli.cli.app import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
for name, module in list(sys.modules.items()):
    if name.split(".")[0] == "vopcli" and (name == "vopcli" or not hasattr(module, "__path__")):
        print("loaded", name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *rest = done.stdout.splitlines()
    assert first.endswith("a.mp4")
    assert {line.removeprefix("loaded ") for line in rest} == SEARCH


def test_a_command_is_loaded_alone() -> None:
    code = """
import sys
sys.argv = ["vop", "config", "show"]
from vopcli.cli.app import main
try:
    main()
finally:
    print(*(name for name in sys.modules if name.startswith("vopcli.cli.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded == {f"vopcli.cli.{name}" for name in ("app", "console", "options", "config")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "from vopcli.methods.counts import list_methods; list_methods('ViT-B/32', num_frames=12)",
        "import vopcli; vopcli.load_model('tiny.safetensors', device='cpu').encode_text(['a dog'])",
    ],
)
def test_a_model_runs_without_the_compiler_of_torch(use: str) -> None:
    write_model(Path("tiny.safetensors"))
    loaded = loaded_by(use)
    assert "torch" in loaded
    assert "sympy" not in loaded  # which the compiler needs
