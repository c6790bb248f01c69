"""Downloads from a local hub, all in one process: the hub's library reads its address when it is imported."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import Hub, serve_hub
from tests.support.weights_files import TINY, make_tensors, write_open_clip

ROOT = Path(__file__).parents[2]

# Opens weights by each name on its input; all of the catalogue have TINY's sizes, which the files have.
PROGRAM = """
import json, sys
from dataclasses import replace
from pathlib import Path
from vopcli.clip.shape import ClipShape, Preprocessing
from vopcli.config.choices import Activation, Fit
from vopcli.errors import VopError
from vopcli.progress import SilentProgress
from vopcli.weights import catalog
from vopcli.weights.reader import open_weights

pixels = Preprocessing((0.5, 0.5, 0.5), (0.4, 0.4, 0.4), Fit.SQUASH)
shape = ClipShape(*map(int, sys.argv[1:]), Activation.GELU, pixels)
catalog.ENTRIES = tuple(replace(entry, shape=shape) for entry in catalog.ENTRIES)

class Told(SilentProgress):
    def __init__(self):
        self.received, self.warnings = 0, []
    def advance(self, amount=1):
        self.received += amount
    def warn(self, message):
        self.warnings.append(message)

for line in sys.stdin:
    name, download = json.loads(line)
    told = Told()
    try:
        weights = open_weights(name, cache=Path("cache"), progress=told, download=download)
        found = [weights.name, weights.kind, weights.path.name, weights.shape == shape]
    except VopError as error:
        found = [type(error).__name__, str(error), error.hint]
    loaded = sorted({"torch", "huggingface_hub"} & set(sys.modules))
    is_there = catalog.is_downloaded(catalog.find_model(name), Path("cache"))
    print(json.dumps([found, told.received, told.warnings, is_there, loaded]), flush=True)
"""


class Opener:
    """The process, which answers one name at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, name: str, *, download: bool = True) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([name, download]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def opener(hub: Hub, folder: Path, **environment: str) -> Iterator[Opener]:
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder),
        "HF_TOKEN": "hf_secret",
        "HF_HUB_ETAG_TIMEOUT": "5",
    }
    sizes = [str(value) for value in vars(TINY).values() if type(value) is int]
    command = [sys.executable, "-c", PROGRAM, *sizes]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | own | environment,
    ) as process:
        yield Opener(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("hub")
    write_open_clip(folder, make_tensors(), quick_gelu=False)
    safe = (folder / "open_clip_model.safetensors").read_bytes()
    return {
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K/open_clip_model.safetensors": safe,
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K/open_clip_pytorch_model.bin": b"unused",
        "timm/vit_base_patch32_clip_224.metaclip_2pt5b/open_clip_pytorch_model.bin": safe,
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K/open_clip_model.safetensors": safe,
        "apple/DFN2B-CLIP-ViT-B-16/README.md": b"no weights",
    }


def test_weights_of_the_hub(contents: dict[str, bytes], tmp_path: Path) -> None:
    with serve_hub(contents) as hub, opener(hub, tmp_path) as read:
        hub.damaged.add("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K/open_clip_model.safetensors")
        found, received, warnings, _, _ = read("LAION2B-L/14", download=False)
        assert found[0] == "WeightsError"
        assert found[2] == "run `vop weights get LAION2B-L/14`"
        assert (received, warnings, hub.requests) == (0, [], [])

        safe = contents["laion/CLIP-ViT-L-14-laion2B-s32B-b82K/open_clip_model.safetensors"]
        found, received, warnings, is_there, loaded = read("ViT-L-14/laion2b_s32b_b82k")
        expected = ["LAION2B-L/14", "open_clip (safetensors)", "open_clip_model.safetensors", True]
        assert (found, received, warnings, is_there) == (expected, len(safe), [], True)
        assert loaded == ["huggingface_hub"]
        assert "Bearer hf_secret" in hub.tokens
        num_requests = len(hub.requests)
        assert read("laion/CLIP-ViT-L-14-laion2B-s32B-b82K")[0] == expected
        assert len(hub.requests) == num_requests  # from the cache

        found, _, warnings, _, _ = read("MetaCLIP-B/32")
        assert found == ["MetaCLIP-B/32", "open_clip (safetensors)", "open_clip_pytorch_model.bin", True]
        assert warnings == ["MetaCLIP-B/32 has the licence CC-BY-NC-4.0: the licence forbids commercial use"]

        found, _, _, is_there, _ = read("DataComp-B/32")
        assert (found[0], is_there) == ("WeightsError", False)
        assert "sent a file other than DataComp-B/32: its SHA-256 is wrong" in found[1]
        hub.damaged.clear()
        assert read("DataComp-B/32")[0][0] == "DataComp-B/32"

        found, _, warnings, is_there, _ = read("DFN2B-B/16")
        usual = "open_clip_model.safetensors or open_clip_pytorch_model.bin"
        assert found[1] == f"apple/DFN2B-CLIP-ViT-B-16 on the Hugging Face hub has no {usual}"
        assert (len(warnings), is_there) == (1, False)
        assert read("LAION2B-B/16")[0][1] == (
            "laion/CLIP-ViT-B-16-laion2B-s34B-b88K is not on the Hugging Face hub, or not open to you"
        )


def test_without_a_network(contents: dict[str, bytes], tmp_path: Path) -> None:
    with serve_hub(contents) as hub, opener(hub, tmp_path, HF_HUB_OFFLINE="1") as read:
        problem, hint = read("LAION2B-B/32")[0][1:]
        assert problem.startswith("the Hugging Face hub cannot be used for laion/CLIP-ViT-B-32-")
        assert "\n" not in problem
        assert "HF_HUB_OFFLINE and HF_ENDPOINT" in hint
        assert hub.requests == []


def test_a_hub_that_does_not_answer_is_given_up_soon(tmp_path: Path) -> None:
    """The hub's library would repeat the request, for half a minute where the connection is refused."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub = Hub(f"http://127.0.0.1:{silent.getsockname()[1]}", {})
        with opener(hub, tmp_path, HF_HUB_ETAG_TIMEOUT="1") as read:
            began = time.monotonic()
            problem, hint = read("LAION2B-B/32")[0][1:]
            assert "cannot be used for laion/CLIP-ViT-B-32-laion2B-s34B-b79K: timed out" in problem
            assert "check the network" in hint
            silent.close()
            assert "Connection refused" in read("LAION2B-B/32")[0][1]
            assert time.monotonic() - began < 20
