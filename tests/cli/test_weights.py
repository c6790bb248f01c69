from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.http_server import Answer, serve
from tests.support.weights_files import TINY, make_tensors, write_hugging_face, write_torchscript
from vopcli.cli.app import main
from vopcli.weights import catalog

MIX = make_tensors(openai_mix=True)


class Vop:
    """Runs ``vop`` in this process, as the shell does."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: object, code: int = 0) -> tuple[str, str]:
        self._monkeypatch.setattr(sys, "argv", ["vop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, err
        return out, err


@pytest.fixture
def vop(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vop:
    return Vop(capsys, monkeypatch)


def test_list_shows_the_official_files(vop: Vop, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ViT-B-16.pt").write_bytes(b"not theirs")
    (tmp_path / "cache" / "ViT-L-14.pt.part").write_bytes(b"begun")
    out, err = vop("weights", "list")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows][:4] == ["ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"]
    assert rows[0] == ["ViT-B/32", "ViT-B-32.pt", "MIT", "353 MB", "missing"]
    assert [row[4] for row in rows][:4] == ["missing", "wrong", "partial", "missing"]
    assert err == ""
    names = ["MetaCLIP-B/16", "timm/vit_base_patch16_clip_224.metaclip_2pt5b", "CC-BY-NC-4.0"]
    assert [*names, "598 MB", "missing"] in rows
    document = json.loads(vop("weights", "list", "--json")[0])
    assert [model["state"] for model in document][:4] == ["missing", "wrong", "partial", "missing"]
    assert document[0]["num_bytes"] == 353_436_676
    assert document[0]["sha256"] == catalog.ENTRIES[0].sha256


def test_get_fetches_from_a_mirror_once(vop: Vop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_torchscript(tmp_path / "source.pt", MIX)
    content = (tmp_path / "source.pt").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    entry = catalog.CatalogEntry("ViT-B/32", "ViT-B-32.pt", digest, len(content))
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))
    monkeypatch.setattr("vopcli.weights.library.ENTRIES", (entry,))
    with serve(content) as server:
        out, err = vop("weights", "get", "vit-b-32", "--url", server.url)
        assert out == f"{tmp_path / 'cache' / 'ViT-B-32.pt'}\n"
        assert "ViT-B-32.pt" in err
        out, err = vop("weights", "get", "ViT-B/32", "--url", server.url, "--quiet", "--json")
        assert json.loads(out)["path"] == str(tmp_path / "cache" / "ViT-B-32.pt")
        assert err == ""
        assert server.paths == [f"/{digest}/ViT-B-32.pt"]
    assert vop("weights", "list")[0].splitlines()[0].endswith("\tready")
    assert json.loads(vop("weights", "show", "ViT-B/32", "--json")[0])["name"] == "ViT-B/32"


def test_an_interrupted_download_says_how_to_continue(vop: Vop) -> None:
    class Interrupting(list[str]):
        def append(self, _: str) -> None:  # in a thread of the server
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with serve(b"") as server:
        server.answers, server.paths = [Answer(silent=True)], Interrupting()
        _, err = vop("weights", "get", "ViT-B/16", "--url", server.url, code=130)
    assert err == "Interrupted. What was downloaded is kept; run the same command to continue.\n"


def test_get_offline_says_one_line_and_what_to_do(vop: Vop, tmp_path: Path) -> None:
    with serve(b"") as closed:
        url = closed.url
    out, err = vop("weights", "get", "ViT-B/16", "--url", url, code=3)
    assert out == ""
    problem, hint = err.splitlines()
    assert problem.startswith(f"Error: {url}/")
    assert "Connection refused" in problem
    assert str(tmp_path / "cache" / "ViT-B-16.pt") in hint


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["get", "ViT-B/33"], 2, "no model is called 'ViT-B/33'"),
        (["get", "RN50"], 3, "RN50 is a CLIP model with a ResNet"),
        (["get", "ViT-B/32", "--url", "file:///etc/passwd"], 2, "is not an http or https address"),
        (["show", "ViT-B/32"], 3, "ViT-B/32 is not in"),
        (["show", "nowhere.pt"], 3, "nowhere.pt does not exist"),
        (["show", "ViT-B/33"], 2, "did you mean ViT-B/32"),
        (["convert", "ViT-B/33", "b.safetensors"], 2, "no model is called 'ViT-B/33'"),
        (["convert", "a.pt", "b.pt"], 2, "b.pt does not end in .safetensors"),
        (["convert", "a.pt", "none/b.safetensors"], 2, "cannot be written"),
        (["convert", "a.pt", "b.safetensors", "--activation", "relu"], 2, "relu"),
        (["show"], 2, "Missing argument"),
    ],
)
def test_mistakes_are_named(vop: Vop, arguments: list[str], code: int, message: str) -> None:
    out, err = vop("weights", *arguments, code=code)
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_convert_and_show_agree(vop: Vop, tmp_path: Path) -> None:
    write_torchscript(tmp_path / "m.pt", MIX)
    target = tmp_path / "m.safetensors"
    converted = json.loads(vop("weights", "convert", tmp_path / "m.pt", target, "--json")[0])
    tensors = load_file(target)
    assert tensors.keys() == MIX.keys()
    for name, tensor in MIX.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype
    shown = json.loads(vop("weights", "show", target, "--json")[0])
    assert shown == converted
    assert shown["activation"] == "quick_gelu"
    assert shown["num_parameters"] == TINY.num_parameters
    assert (
        shown["fingerprint"]
        == json.loads(vop("weights", "show", tmp_path / "m.pt", "--json")[0])["fingerprint"]
    )
    table = dict(line.split("\t") for line in vop("weights", "show", target)[0].splitlines())
    assert table["fingerprint"] == shown["fingerprint"]
    assert table["vision_heads"] == "3"
    assert table["dtypes"] == "1,135,616 float16, 10,433 float32"


def test_convert_replaces_only_when_told(vop: Vop, tmp_path: Path) -> None:
    write_hugging_face(tmp_path / "hf")
    target = tmp_path / "m.safetensors"
    target.write_bytes(b"mine")
    _, err = vop("weights", "convert", tmp_path / "hf", target, code=3)
    assert f"{target} exists" in err
    assert "--overwrite" in err
    assert target.read_bytes() == b"mine"
    vop("weights", "convert", tmp_path / "hf", target, "--overwrite")
    first = vop("weights", "show", target, "--json")[0]
    vop(
        "weights", "convert", target, target, "--overwrite"
    )  # onto itself: the old file stays until the new is whole
    assert vop("weights", "show", target, "--json")[0] == first


def test_convert_that_fails_leaves_nothing(vop: Vop, tmp_path: Path) -> None:
    save_file(MIX | {"ln_final.bias": MIX["ln_final.bias"] * float("nan")}, tmp_path / "m.bin")
    _, err = vop("weights", "convert", tmp_path / "m.bin", tmp_path / "m.safetensors", code=3)
    assert "ln_final.bias contains NaN or infinity" in err
    assert {path.name for path in tmp_path.iterdir()} == {"m.bin"}


def test_unknown_activation_is_asked_for_once(vop: Vop, tmp_path: Path) -> None:
    save_file(make_tensors(), tmp_path / "m.safetensors")
    _, err = vop("weights", "show", tmp_path / "m.safetensors", code=3)
    assert "--activation quick_gelu" in err
    out, _ = vop(
        "weights",
        "convert",
        tmp_path / "m.safetensors",
        tmp_path / "k.safetensors",
        "--activation",
        "gelu",
        "--json",
    )
    assert json.loads(out)["activation"] == "gelu"
    assert json.loads(vop("weights", "show", tmp_path / "k.safetensors", "--json")[0])["activation"] == "gelu"
