"""Random crops and flips: one draw a video, inside the frame, and half of them flipped."""

import torch

from vopcli.training.augment import augment


def ramps(videos: int, side: int = 24) -> torch.Tensor:
    """Frames whose value says the place: red across, green down, blue nothing; frames all alike."""
    place = (torch.arange(side) + 0.5) / side
    across, down = place.expand(side, side), place[:, None].expand(side, side)
    frame = torch.stack([across, down, torch.full((side, side), 0.5)])
    return frame.expand(videos, 3, 3, side, side)


def test_a_crop_is_a_stretched_window_of_the_frame() -> None:
    pixels = ramps(200)
    found = augment(pixels, torch.Generator().manual_seed(0))
    assert found.shape == pixels.shape
    assert torch.equal(found[:, 0], found[:, 2]), "all frames of a video are cropped alike"
    red, green = found[:, 0, 0, 4:-4, 4:-4], found[:, 0, 1, 4:-4, 4:-4]
    torch.testing.assert_close(red, red[:, :1].expand_as(red), atol=1e-4, rtol=0)  # no turn, no shear
    torch.testing.assert_close(green, green[:, :, :1].expand_as(green), atol=1e-4, rtol=0)
    width = (red[:, 0, 1:] - red[:, 0, :-1]).mean(dim=1) * 24  # of the window, in frames; negative if flipped
    height = (green[:, 1:, 0] - green[:, :-1, 0]).mean(dim=1) * 24
    assert height.min() > 0
    assert height.max() <= 1 + 1e-4
    assert width.abs().max() <= 1 + 1e-4
    area, ratio = width.abs() * height, width.abs() / height
    assert area.min() > 0.5 - 1e-3
    assert area.max() > 0.9
    assert ratio.min() > 0.74
    assert ratio.max() < 1.35
    assert 70 < int((width < 0).sum()) < 130
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_draw_follows_the_generator() -> None:
    pixels = ramps(4)
    first = augment(pixels, torch.Generator().manual_seed(3))
    assert torch.equal(first, augment(pixels, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, augment(pixels, torch.Generator().manual_seed(4)))
