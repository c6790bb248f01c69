"""Whether a request names another model than that of the index."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tests.support.indexes import META
from vopcli.config.schema import BackboneConfig, Config
from vopcli.encoding.backbone import absolute_name, keeps_model
from vopcli.encoding.request import EncodeRequest


def request(weights: str | None) -> EncodeRequest:
    return EncodeRequest([], Path("i.h5"), Config(BackboneConfig(weights)))


def test_an_index_keeps_its_model_unless_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").touch()
    os.chdir(tmp_path)
    stored = replace(META, weights=str(tmp_path / "m.safetensors"))
    assert keeps_model(request(None), stored)
    assert keeps_model(request("m.safetensors"), stored)
    assert not keeps_model(request("ViT-B/32"), stored)
    assert not keeps_model(request(None), replace(stored, recipe={}))  # without the size of the frames


def test_names_are_kept_and_paths_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "m.pt").touch()
    os.chdir(tmp_path)
    assert absolute_name("m.pt") == str(tmp_path / "m.pt")
    assert (absolute_name("ViT-B/32"), absolute_name("gone.pt")) == ("ViT-B/32", "gone.pt")
