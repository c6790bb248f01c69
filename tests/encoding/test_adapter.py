"""An adapter must fit the index, its backbone and the frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META
from tests.support.progress import Warnings
from vopcli.config.choices import Variant
from vopcli.config.schema import TuningConfig
from vopcli.encoding.adapter import adapter_meta, check_adapter
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError, WeightsError
from vopcli.methods.adapter_file import Adapter

RECIPE = {"sampling": "uniform:3", "size": 35}  # that of META
TUNED = Adapter(TuningConfig(Variant.VOP), 3, META.fingerprint, RECIPE, {"x": np.zeros(2, np.float32)})
REQUEST = EncodeRequest([Path("videos")], Path("i.h5"), adapter=Path("run"))


def check(adapter: Adapter | None, earlier: Adapter | None = TUNED, *, is_new: bool = False) -> list[str]:
    progress = Warnings()
    meta = replace(META, adapter=adapter_meta(adapter))
    before = None if is_new else replace(META, adapter=adapter_meta(earlier))
    check_adapter(REQUEST, adapter, meta, before, progress)
    return progress.warnings


def test_the_same_adapter_and_a_new_index_are_fine() -> None:
    assert check(TUNED) == check(TUNED, is_new=True) == check(None, None) == []


def test_an_index_keeps_its_adapter() -> None:
    other = replace(TUNED, tensors={"x": np.ones(2, np.float32)})
    for adapter, article in ((other, "another"), (None, "an")):
        with pytest.raises(DataError, match=rf"i\.h5 was made with {article} adapter \(VoP\)"):
            check(adapter)
    with pytest.raises(DataError, match=r"i\.h5 was made without an adapter"):
        check(TUNED, None)


def test_an_adapter_of_another_backbone_or_number_of_frames_is_refused() -> None:
    with pytest.raises(WeightsError, match="a backbone other than"):
        check(replace(TUNED, fingerprint="cd" * 32), is_new=True)
    with pytest.raises(DataError, match="tuned on 12 frames per video, these have 3") as raised:
        check(replace(TUNED, num_frames=12), is_new=True)
    assert "--num-frames 12" in raised.value.hint


def test_other_frames_are_a_warning() -> None:
    recipe = {"sampling": "xpool:3", "size": 35}
    (warning,) = check(replace(TUNED, recipe=recipe), is_new=True)
    assert warning == "the frames differ from those run was tuned on: sampling uniform:3, not xpool:3"
