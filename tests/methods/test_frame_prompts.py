"""Prompts of every frame: where they stand, and which tokens a layer computes."""

import torch
from torch import Tensor, nn

from vopcli.methods.frame_prompts import FramePrompts, GenericPrompts

FRAMES, WIDTH = 3, 4


class Fixed(nn.Module):
    """Prompts whose numbers name the table row, the video and the frame they are for."""

    num_prompts = 1

    def forward(self, row: int, cls_tokens: Tensor) -> Tensor:
        batch, frames, width = cls_tokens.shape
        numbers = 1000 + 100 * row + 10 * torch.arange(batch)[:, None] + torch.arange(frames)
        return numbers[..., None, None].expand(batch, frames, 1, width).to(cls_tokens)


def test_prompts_of_all_sources_stand_last_in_the_layers_that_have_them() -> None:
    generic = GenericPrompts(num_layers=2, prompts=2, width=WIDTH)
    hook = FramePrompts([generic, Fixed()], depth=4, layers=[0, 2], frames=FRAMES)
    tokens = torch.arange(2 * FRAMES * 5.0)[:, None].expand(-1, WIDTH).reshape(2 * FRAMES, 5, WIDTH)
    for layer, row in ((0, 0), (2, 1)):
        found = hook.before(layer, tokens)
        assert torch.equal(found[:, :5], tokens)
        assert torch.equal(found[:, 5:7], generic.table[row].expand(2 * FRAMES, -1, -1))
        assert found[:, 7, 0].tolist() == [1000 + 100 * row + n for n in (0, 1, 2, 10, 11, 12)]
    assert hook.before(1, tokens) is tokens
    assert hook.after(2, tokens) is tokens


def test_prompts_are_not_computed_and_the_last_layer_computes_the_class_token_alone() -> None:
    hook = FramePrompts([Fixed(), Fixed()], depth=3, layers=[0, 2], frames=FRAMES)
    assert [hook.num_read(layer) for layer in range(3)] == [-2, None, 1]


def test_the_last_layer_computes_all_tokens_that_are_pooled() -> None:
    hook = FramePrompts([Fixed(), Fixed()], depth=3, layers=[0, 2], frames=FRAMES, pools_tokens=True)
    assert [hook.num_read(layer) for layer in range(3)] == [-2, None, -2]
