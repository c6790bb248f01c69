"""Rotations of queries and keys, by plain arithmetic."""

import math

import pytest
import torch

from vopcli.clip.rotary import patch_rotations, rotate, sequence_rotations

GRID, WIDTH = 3, 12
CPU = torch.device("cpu")


def rotated_by_hand(vector: list[float], column: int, row: int) -> list[float]:
    """Rotate each pair of channels: three by the column, three by the row, from fast to slow."""
    found = []
    for pair in range(WIDTH // 2):
        position = column if pair < WIDTH // 4 else row
        angle = position * 10_000.0 ** (-(pair % (WIDTH // 4)) / (WIDTH // 4))
        one, other = vector[2 * pair : 2 * pair + 2]
        found += [
            one * math.cos(angle) - other * math.sin(angle),
            one * math.sin(angle) + other * math.cos(angle),
        ]
    return found


def test_patches_are_rotated_by_their_place_and_the_class_token_is_not() -> None:
    torch.manual_seed(0)
    heads = torch.randn(2, 5, 1 + GRID**2, WIDTH)
    found = rotate(heads, patch_rotations(GRID, WIDTH, CPU))
    assert torch.equal(found[:, :, 0], heads[:, :, 0])
    for patch in range(GRID**2):
        for image, head in ((0, 3), (1, 4)):
            row, column = divmod(patch, GRID)
            expected = rotated_by_hand(heads[image, head, 1 + patch].tolist(), column + 1, row + 1)
            torch.testing.assert_close(found[image, head, 1 + patch], torch.tensor(expected))


def test_a_video_in_one_sequence_has_the_rotations_of_its_frames_and_prompts_have_none() -> None:
    one = patch_rotations(GRID, WIDTH, CPU)
    found = sequence_rotations(one, frames=4, length=4 * len(one) + 2)
    assert torch.equal(found[:4], torch.ones_like(found[:4]))
    assert torch.equal(found[4:-2].view(4, GRID**2, -1), one[1:].expand(4, -1, -1))
    assert torch.equal(found[-2:], torch.ones_like(found[-2:]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    heads = torch.randn(1, 2, 1 + GRID**2, WIDTH).to(dtype)
    rotations = patch_rotations(GRID, WIDTH, CPU)
    assert torch.equal(rotate(heads, rotations), rotate(heads.float(), rotations).to(dtype))


def test_gradients_pass_through_a_rotation() -> None:
    heads = torch.randn(1, 2, 4, WIDTH, dtype=torch.float64, requires_grad=True)
    rotations = patch_rotations(GRID, WIDTH, CPU)
    assert torch.autograd.gradcheck(lambda tokens: rotate(tokens, rotations), heads)
