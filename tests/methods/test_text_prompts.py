"""Text prompts against the plain loops of tests/support/reference.py."""

import pytest
import torch

from tests.support.methods import (
    SHAPE,
    build,
)
from tests.support.reference import text_embedding
from vopcli.config.choices import Variant


@pytest.mark.parametrize(("length", "suffix"), [(3, 0), (2, 1), (4, 2)])
def test_texts_agree_with_the_plain_loops(length: int, suffix: int) -> None:
    model = build(Variant.VOP, prompt_length=length, text_suffix=suffix)
    weights = {name: tensor.detach() for name, tensor in model.clip.state_dict().items()}
    padded = SHAPE.context_length - length
    for words in (1, 4, padded - 2):
        ids = [29, *range(1, words + 1), 30]
        ids += [0] * (padded - len(ids))
        with torch.no_grad():
            found = model.encode_text(torch.tensor([ids]))[0]
            expected = text_embedding(
                ids, weights, SHAPE.text_layers, SHAPE.text_heads, model.text_prompts.table, suffix=suffix
            )
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)
