from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.clip import (
    openai_shape,
    random_clip,
    random_pixels,
    random_state,
    random_tokens,
    tiny_clip,
)
from vopcli.clip.model import Clip
from vopcli.config.choices import Activation
from vopcli.weights.build import build_clip
from vopcli.weights.reader import Weights

NUM_TENSORS = {"ViT-B/32": 302, "ViT-B/16": 302, "ViT-L/14": 446, "ViT-L/14@336px": 446}
NUM_PARAMETERS = {
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336px": 427_944_193,
}


@pytest.mark.parametrize("name", NUM_TENSORS)
def test_openai_sizes(name: str) -> None:
    with torch.device("meta"):
        clip = Clip(openai_shape(name))
    assert len(clip.state_dict()) == NUM_TENSORS[name]
    assert sum(parameter.numel() for parameter in clip.parameters()) == NUM_PARAMETERS[name]


def test_state_dict_has_openai_names() -> None:
    """Written out, not taken from ClipShape."""
    names = set(Clip(tiny_clip()).state_dict())
    layer = [
        "ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias",
        "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias",
        "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias",
    ]  # fmt: skip
    expected = {
        "positional_embedding", "text_projection", "logit_scale", "token_embedding.weight",
        "ln_final.weight", "ln_final.bias",
        "visual.class_embedding", "visual.positional_embedding", "visual.proj", "visual.conv1.weight",
        "visual.ln_pre.weight", "visual.ln_pre.bias", "visual.ln_post.weight", "visual.ln_post.bias",
        *(f"transformer.resblocks.{number}.{part}" for number in range(2) for part in layer),
        *(f"visual.transformer.resblocks.{number}.{part}" for number in range(3) for part in layer),
    }  # fmt: skip
    assert names == expected


def mapped_weights(folder: Path, dtype: type) -> Weights:
    """Weights whose arrays are read-only maps of files: writing to one would kill the process."""
    tensors = {}
    for name, array in random_state(tiny_clip()).items():
        path = folder / f"{name}.npy"
        np.save(path, array.astype(dtype))
        tensors[name] = np.load(path, mmap_mode="r")
    return Weights(folder, "mapped", "test", tiny_clip(), tensors)


@pytest.mark.parametrize("stored", [np.float16, np.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_build_copies_read_only_weights(tmp_path: Path, stored: type, dtype: torch.dtype) -> None:
    weights = mapped_weights(tmp_path, stored)
    clip = build_clip(weights, device="cpu", dtype=dtype)
    assert not clip.training
    for name, parameter in clip.named_parameters():
        is_wide = name == "logit_scale" or (dtype == torch.float16 and ("ln_" in name))
        assert parameter.dtype == (torch.float32 if is_wide else dtype), name
        assert not parameter.requires_grad
        assert parameter.device.type == "cpu"
        expected = torch.from_numpy(np.array(weights.tensors[name], dtype=np.float32)).to(parameter.dtype)
        assert torch.equal(parameter, expected), name
        parameter.zero_()
    assert all(
        np.array_equal(weights.tensors[name], array) for name, array in random_state(tiny_clip()).items()
    )


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_build_is_strict(fault: str) -> None:
    state = dict(random_state(tiny_clip()))
    if fault == "missing":
        del state["visual.proj"]
    else:
        state["visual.head"] = np.zeros(3, dtype=np.float32)
    weights = Weights(Path("odd"), "odd", "test", tiny_clip(), dict(state))
    with pytest.raises(RuntimeError, match="visual.proj" if fault == "missing" else "visual.head"):
        build_clip(weights, device="cpu", dtype=torch.float32)


class Idle:
    def __init__(self, *, reads_first_of_layer: int | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.last = reads_first_of_layer

    def before(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        self.calls.append(("before", layer))
        return tokens

    def num_read(self, layer: int) -> int | None:
        return 1 if layer == self.last else None

    def after(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        self.calls.append(("after", layer))
        return tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_idle_hook_is_bit_identical(dtype: torch.dtype) -> None:
    shape = tiny_clip()
    clip = random_clip(shape, dtype=dtype)
    pixels, tokens = random_pixels(shape, 4), random_tokens(5)
    around_images, around_texts = Idle(reads_first_of_layer=2), Idle()
    assert torch.equal(clip.encode_image(pixels, around_images), clip.encode_image(pixels))
    assert torch.equal(clip.encode_text(tokens, around_texts), clip.encode_text(tokens))
    order = [(when, layer) for layer in range(3) for when in ("before", "after")]
    assert around_images.calls == order
    assert around_texts.calls == order[:4]


def test_gradient_mode_changes_nothing_but_gradients() -> None:
    shape = tiny_clip(Activation.QUICK_GELU)
    pixels = random_pixels(shape, 2)
    frozen, trained = random_clip(shape), random_clip(shape).requires_grad_(True)
    torch.testing.assert_close(
        trained.encode_image(pixels), frozen.encode_image(pixels), rtol=1e-6, atol=1e-6
    )
    trained.encode_image(pixels).sum().backward()
    assert trained.visual.conv1.weight.grad is not None


def test_fresh_model_is_fit_for_training() -> None:
    """Before any weights are loaded, outputs are finite and images differ."""
    torch.manual_seed(0)
    shape = tiny_clip()
    images = Clip(shape).encode_image(random_pixels(shape, 4)).detach()
    assert bool(images.isfinite().all())
    assert float(images.std()) > 0.1
    assert float((images[0] - images[1]).abs().max()) > 0.01
