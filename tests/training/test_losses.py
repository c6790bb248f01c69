"""The loss against its definition written out, and its gradient in parts against that in one piece."""

import math

import pytest
import torch

from tests.support.training import FRAMES, SIDE, model_of
from vopcli.config.choices import Variant
from vopcli.training.losses import backward_in_parts, contrastive_loss


def unit_rows(rows: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(rows, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_the_loss_is_the_mean_of_both_cross_entropies() -> None:
    text, video, scale = unit_rows(5, 0), unit_rows(5, 1), torch.tensor(1.3, dtype=torch.float64)
    total = 0.0
    for i in range(5):
        row = [math.exp(math.exp(1.3) * float(text[i] @ video[j])) for j in range(5)]
        column = [math.exp(math.exp(1.3) * float(text[j] @ video[i])) for j in range(5)]
        total -= math.log(row[i] / sum(row)) + math.log(column[i] / sum(column))
    assert float(contrastive_loss(text, video, scale)) == pytest.approx(total / 10, abs=1e-12)
    assert float(contrastive_loss(text, text, scale)) < float(contrastive_loss(text, video, scale))


@pytest.mark.parametrize("variant", [Variant.FULL, Variant.C_F, Variant.VOP, Variant.BIAS])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_parts_give_the_gradient_of_the_whole_batch(variant: Variant, size: int) -> None:
    model = model_of(variant).double()
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(5, FRAMES, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    tokens = torch.tensor([[48, 3 + i, 4, 49, 0] for i in range(5)])
    trained = {name: item for name, item in model.named_parameters() if item.requires_grad}

    def gradients(size: int) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        parts = [
            lambda part=slice(start, start + size): (
                model.encode_text(tokens[part]).double(),
                model.encode_video(pixels[part]).double(),
            )
            for start in range(0, 5, size)
        ]
        loss = float(backward_in_parts(parts, model.clip.logit_scale))
        return loss, {name: item.grad.clone() for name, item in trained.items()}

    whole_loss, whole = gradients(5)
    loss, found = gradients(size)
    assert loss == pytest.approx(whole_loss, abs=1e-6)
    assert any(gradient.abs().max() > 1e-4 for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
