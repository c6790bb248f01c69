"""Adapters on the hub: pushed, named by ``hf://``, and the errors, against a local server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.hub import Hub, serve_hub
from vopcli.errors import UsageError
from vopcli.methods.adapter_file import read_adapter
from vopcli.methods.hub import repository_of

NAME = "somebody/films"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub({}) as server:
        yield server


def vop(hub: Hub, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own: the hub's library reads its address when it is imported."""
    given = {"HF_ENDPOINT": hub.url, "HF_HOME": str(Path("hf").absolute()), "HF_TOKEN": "hf_1", **variables}
    command = [sys.executable, "-m", "vopcli", *arguments]
    return subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://a/b", "a/b"),
        (Path("hf://a/b-1.x"), "a/b-1.x"),
        ("runs/P-seed0", None),
        (Path("/hf:/a/b"), None),
    ],
)
def test_names_of_repositories(name: str | Path, expected: str | None) -> None:
    assert repository_of(name) == expected


@pytest.mark.parametrize(
    "name", ["hf://", "hf://a", "hf://a/b/c", "hf://../b", "hf://a/b c", "hf://-a/b", "hf://a--b/c"]
)
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a repository"):
        repository_of(name)


@pytest.mark.slow
def test_a_run_is_pushed_and_used_by_its_name(folder: Path, hub: Hub) -> None:
    assert vop(hub, "train", "--variant", "VoP", "--epochs", "1", "--quiet").returncode == 0
    done = vop(hub, "push", "runs/VoP-seed0", "somebody/else", HF_TOKEN="")
    assert (done.returncode, "hf auth login" in done.stderr) == (3, True), done.stderr
    card = Path("runs/VoP-seed0/README.md")
    text = card.read_text()
    card.write_text("---\na: [\n---\n")
    done = vop(hub, "push", "runs/VoP-seed0", NAME)
    assert (done.returncode, "refuses the card: Invalid metadata" in done.stderr) == (3, True), done.stderr
    card.write_text(text)
    hub.private.clear()
    done = vop(hub, "push", "runs/VoP-seed0", NAME, "--private")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"hf://{NAME}\n"
    assert f"README.md does not name hf://{NAME}" in done.stderr
    assert set(hub.files) == {f"{NAME}/adapter.safetensors", f"{NAME}/README.md"}
    assert hub.private == {NAME: True}
    _, metadata, _ = hub.files[f"{NAME}/README.md"].decode().split("---\n", 2)
    (model,) = yaml.safe_load(metadata)["model-index"]
    assert {result["dataset"]["split"] for result in model["results"]} == {"validation"}

    done = vop(hub, "eval", f"hf://{NAME}", "runs/VoP-seed0", "--split", "test")
    assert done.returncode == 0, done.stderr
    first, second = [line.split("\t") for line in done.stdout.splitlines()]
    assert (first[0], second[0]) == (f"hf://{NAME}", "runs/VoP-seed0")
    assert first[1:] == second[1:]
    assert f"asking the Hugging Face hub for {NAME}" in done.stderr
    again = vop(hub, "eval", f"hf://{NAME}", "--split", "test", HF_HUB_OFFLINE="1")
    assert again.stdout == done.stdout.splitlines(keepends=True)[0], again.stderr  # from the cache
    (pulled,) = Path("hf").rglob("adapter.safetensors")
    assert read_adapter(pulled).sha256 == read_adapter(Path("runs/VoP-seed0")).sha256


@pytest.mark.slow
def test_errors_of_the_hub_are_one_line(folder: Path, hub: Hub) -> None:
    done = vop(hub, "eval", "hf://somebody/nothing", "--split", "test")
    assert (done.returncode, "is not on the Hugging Face hub" in done.stderr) == (3, True), done.stderr
    assert "Traceback" not in done.stderr

    hub.files[f"{NAME}/other.txt"] = b""
    done = vop(hub, "eval", f"hf://{NAME}", "--split", "test")
    assert (done.returncode, "has no adapter.safetensors" in done.stderr) == (3, True), done.stderr

    done = vop(hub, "eval", "hf://somebody/else", "--split", "test", HF_HUB_OFFLINE="1")
    assert (done.returncode, "hub cannot be used for somebody/else" in done.stderr) == (3, True)
