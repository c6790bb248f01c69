import pytest
import torch

from tests.support.clip import random_clip, random_pixels, tiny_clip
from vopcli.clip.shape import OPENAI_PREPROCESSING, PIXEL_MEAN, PIXEL_STD, Preprocessing
from vopcli.clip.vision import normalise


@pytest.mark.parametrize(("mean", "std"), [(PIXEL_MEAN, PIXEL_STD), ((0.5, 0.4, 0.3), (0.5, 0.2, 0.1))])
def test_normalise_by_hand(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    frames = torch.randint(0, 256, (2, 3, 5, 7, 3), dtype=torch.uint8)
    pixels = normalise(frames, Preprocessing(mean, std))
    assert pixels.shape == (2, 3, 3, 5, 7)
    assert pixels.dtype == torch.float32
    for colour in range(3):
        expected = (frames[..., colour].double() / 255 - mean[colour]) / std[colour]
        torch.testing.assert_close(pixels[:, :, colour].double(), expected, rtol=0, atol=2e-6)


def test_normalise_leaves_the_frames_alone_and_gives_the_dtype_asked_for() -> None:
    frames = torch.full((1, 4, 4, 3), 200, dtype=torch.uint8)
    pixels = normalise(frames, OPENAI_PREPROCESSING, dtype=torch.bfloat16, device="cpu")
    assert pixels.dtype == torch.bfloat16
    expected = normalise(frames, OPENAI_PREPROCESSING)
    torch.testing.assert_close(pixels.float(), expected, rtol=2**-8, atol=0)
    assert bool((frames == 200).all())


@pytest.mark.parametrize(
    "frames", [torch.zeros(4, 4, 3), torch.zeros(3, 4, 4, dtype=torch.uint8)], ids=["float", "colour first"]
)
def test_normalise_refuses_other_layouts(frames: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="need uint8 frames"):
        normalise(frames, OPENAI_PREPROCESSING)


def test_patches_are_what_the_convolution_gives() -> None:
    visual = random_clip(tiny_clip()).visual
    pixels = random_pixels(tiny_clip(), 3)
    expected = visual.conv1(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(visual._embed_patches(pixels), expected, rtol=1e-5, atol=1e-5)


def test_memory_layout_of_the_pixels_does_not_matter() -> None:
    clip = random_clip(tiny_clip())
    pixels = random_pixels(tiny_clip(), 3)
    other = pixels.contiguous(memory_format=torch.channels_last)
    assert torch.equal(clip.encode_image(other), clip.encode_image(pixels))


def test_other_resolution_is_refused() -> None:
    clip = random_clip(tiny_clip())
    with pytest.raises(ValueError, match=r"need images \(N, 3, 35, 35\), got \(1, 3, 35, 42\)"):
        clip.encode_image(torch.zeros(1, 3, 35, 42))


class FirstLayerProbe:
    """Remembers what enters the first layer's hook and adds a token there."""

    def __init__(self) -> None:
        self.seen: torch.Tensor | None = None

    def before(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        if layer == 0:
            self.seen = tokens
            return torch.cat([tokens[:, :1], torch.ones_like(tokens[:, :2]), tokens[:, 1:]], dim=1)
        return tokens

    def num_read(self, layer: int) -> int | None:
        return None

    def after(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


def test_first_hook_stands_after_the_positions_and_before_ln_pre() -> None:
    shape = tiny_clip()
    visual = random_clip(shape).visual
    pixels, probe = random_pixels(shape, 3), FirstLayerProbe()
    found = visual(pixels, probe)
    cls_token = visual.class_embedding.expand(3, 1, -1)
    entered = torch.cat([cls_token, visual._embed_patches(pixels)], dim=1) + visual.positional_embedding
    assert torch.equal(probe.seen, entered)
    tokens = visual.ln_pre(probe.before(0, entered))  # the added tokens pass ln_pre too
    expected = visual.ln_post(visual.transformer(tokens))[:, 0] @ visual.proj
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_no_images_give_no_embeddings() -> None:
    assert random_clip(tiny_clip()).encode_image(torch.zeros(0, 3, 35, 35)).shape == (0, 40)
