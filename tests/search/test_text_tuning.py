"""A tuned text tower in NumPy, from what an index keeps, against the torch model: every variant."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.methods import FRAMES, SHAPE, TUNING
from vopcli.clip.model import Clip
from vopcli.clip.shape import TextTuning
from vopcli.clip.text_numpy import NumpyTextTower, text_tensors
from vopcli.config.choices import Sides, Variant
from vopcli.encoding.adapter import adapter_meta, text_side
from vopcli.index.meta import IndexMeta
from vopcli.methods.adapter_file import Adapter
from vopcli.methods.model import VideoTextModel, trained_tensors
from vopcli.search.text_tuning import text_tuning

CASES = [(variant, {}) for variant in Variant] + [
    (Variant.VOP, {"sides": Sides.VISUAL}),
    (Variant.VOP, {"sides": Sides.TEXT, "layers": "1,3"}),
    (Variant.P_F, {"layers": "2"}),
    (Variant.VOP, {"text_suffix": 2}),
    (Variant.VOP, {"text_suffix": 1, "layers": "1-2"}),
]


def texts(max_tokens: int) -> np.ndarray:
    rows = [[29, 3, 4, 5, 30], [29, 7, 30], [29, *range(1, max_tokens - 1), 30]]
    ids = np.zeros((3, max_tokens), np.int64)
    for row, words in zip(ids, rows, strict=True):
        row[: len(words)] = words
    return ids


@pytest.mark.parametrize(("variant", "changes"), CASES)
def test_numpy_and_torch_agree(variant: Variant, changes: dict[str, object]) -> None:
    torch.manual_seed(4)
    tuning = dataclasses.replace(TUNING, variant=variant, adapter_width=5, **changes)
    clip = Clip(SHAPE)
    backbone = {name: clip.state_dict()[name].numpy().copy() for name in text_tensors(SHAPE)}
    model = VideoTextModel(clip, tuning, num_frames=FRAMES).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    tensors = {name: tensor.numpy() for name, tensor in trained_tensors(model).items()}
    adapter = Adapter(tuning, FRAMES, "f" * 64, {}, tensors)
    kept = json.loads(json.dumps(adapter_meta(adapter)))
    meta = IndexMeta("tiny", "f" * 64, {}, SHAPE.embed_dim, kept)
    assert meta.variant == variant.value
    plain = NumpyTextTower(backbone, SHAPE)
    tower = plain.tuned(text_side(adapter), text_tuning(meta, SHAPE))
    ids = texts(model.max_tokens)
    assert tower.max_tokens == model.max_tokens
    with torch.no_grad():
        expected = model.encode_text(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(tower.encode(ids), expected, rtol=0, atol=1e-5)
    text_is_tuned = variant is not Variant.ZERO_SHOT and changes.get("sides") is not Sides.VISUAL
    assert text_is_tuned == (np.abs(plain.encode(ids) - expected).max() > 1e-3)


def test_a_tensor_of_another_shape_is_refused() -> None:
    plain = NumpyTextTower({"text_projection": np.zeros((8, 10), np.float32)}, SHAPE)
    with pytest.raises(ValueError, match=r"text_projection is \(3, 3\), not \(8, 10\)"):
        plain.tuned({"text_projection": np.zeros((3, 3), np.float32)}, TextTuning())
