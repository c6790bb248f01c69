"""The public names of the package, and the examples in their docstrings."""

from __future__ import annotations

import doctest
import inspect
import os
import pydoc
from pathlib import Path

import numpy as np
import pytest

import vopcli
from vopcli.datasets.demo.folder import DemoRequest, make_demo
from vopcli.datasets.demo.scenes import plan_demo
from vopcli.progress import SilentProgress

SETTINGS = """\
backbone: {weights: demo-tiny, device: cpu}
data: {frames: out.h5, captions: captions.jsonl, size: 48}
tuning: {variant: VoP, split_layer: 1}
training: {epochs: 1, batch_size: 4, precision: fp32, val_share: 0.2}
"""
FUNCTIONS = [name for name in vopcli.__all__ if inspect.isfunction(getattr(vopcli, name))]
METHODS = [
    f"{kind.__name__}.{name}"
    for kind in (vopcli.Model, vopcli.Index)
    for name, member in vars(kind).items()
    if inspect.isfunction(member) and not name.startswith("_")
]


def test_dir_and_help_show_the_public_names_alone() -> None:
    assert dir(vopcli) == sorted(vopcli.__all__)
    text = pydoc.plain(pydoc.render_doc(vopcli))
    for name in set(vopcli.__all__) - {"__version__"}:
        assert name in text
    shown = {line.strip().partition("(")[0] for line in text.splitlines() if line.startswith("    ")}
    assert not {"annotations", "TYPE_CHECKING", "Any", "Path"} & shown


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(vopcli, name) is not None for name in vopcli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vopcli.nothing


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 videos of the demo set, and settings for one short run."""
    folder = tmp_path_factory.mktemp("demo")
    pairs = list(plan_demo(seed=0))
    make_demo(DemoRequest(folder), progress=SilentProgress(), pairs=[*pairs[:7], *pairs[-3:]])
    (folder / "vop.yaml").write_text(SETTINGS)
    return folder


def test_the_examples_work(demo: Path) -> None:
    """In the order of use: each goes on with the files of the one before."""
    os.chdir(demo)
    names = {"vopcli": vopcli, "np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    order = ["extract_frames", "load_model", "train", "evaluate", "encode", "open_index"]
    assert sorted(order) == sorted(FUNCTIONS)
    for name in [*order, "Query", *METHODS]:
        owner, _, method = name.partition(".")
        member = getattr(vopcli, owner)
        (test,) = doctest.DocTestFinder(recurse=False).find(
            getattr(member, method) if method else member, name, globs=names
        )
        assert test.examples, f"{name} has no example"
        test.globs = names  # each example goes on with the names of the ones before
        runner.run(test, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0
