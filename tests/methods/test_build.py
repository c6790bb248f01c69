"""What is written of a tuned model gives the same model again, to the bit."""

from pathlib import Path

import pytest
import torch

from vopcli.config.choices import ContextModule, Variant
from vopcli.config.schema import TuningConfig
from vopcli.errors import WeightsError
from vopcli.files.safetensors import read_safetensors
from vopcli.methods.adapter_file import Adapter, read_adapter, write_adapter
from vopcli.methods.build import build_tuned, load_tuned
from vopcli.methods.model import VideoTextModel, trained_tensors
from vopcli.resources import packaged_file
from vopcli.training.losses import contrastive_loss
from vopcli.weights.reader import Weights, read_weights

FRAMES = 3
CPU = torch.device("cpu")
CASES = [
    *({"variant": variant} for variant in Variant),
    {"variant": Variant.C, "context_module": ContextModule.TRANSFORMER},
    {"variant": Variant.P_F, "layers": "2-4", "prompt_length": 5, "specific_length": 2},
    {"variant": Variant.VOP, "text_suffix": 4},
]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return read_weights(packaged_file("demo/demo-tiny.safetensors"))


def tuned(weights: Weights, tuning: TuningConfig, dtype: torch.dtype = torch.float32) -> VideoTextModel:
    """A model whose trained tensors are all moved away from where they start."""
    torch.manual_seed(3)
    model = build_tuned(weights, tuning, num_frames=FRAMES, device=CPU, dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.01)
    return model.eval()


def write(path: Path, weights: Weights, tuning: TuningConfig, model: VideoTextModel) -> None:
    tensors = {name: tensor.numpy() for name, tensor in trained_tensors(model).items()}
    write_adapter(path, Adapter(tuning, FRAMES, weights.fingerprint(), {}, tensors))


@pytest.mark.parametrize(
    "settings", CASES, ids=lambda case: "-".join(str(getattr(v, "value", v)) for v in case.values())
)
def test_saving_and_loading_gives_the_same_bits(
    weights: Weights, tmp_path: Path, settings: dict[str, object]
) -> None:
    tuning = TuningConfig(**{"split_layer": 2, **settings})  # type: ignore[arg-type]
    model, path = tuned(weights, tuning), tmp_path / "adapter.safetensors"
    write(path, weights, tuning, model)
    model.merge_changes()
    model.requires_grad_(requires_grad=False)  # torch has another LSTM for weights that are trained
    loaded = load_tuned(weights, weights.fingerprint(), read_adapter(path), device=CPU, dtype=torch.float32)
    pixels, tokens = (
        torch.randn(2, FRAMES, 3, 48, 48),
        torch.tensor([[49406, 736, 49407], [49406, 320, 49407]]),
    )
    with torch.no_grad():
        assert torch.equal(loaded.encode_video(pixels), model.encode_video(pixels))
        assert torch.equal(loaded.encode_text(tokens), model.encode_text(tokens))
        if tuning.variant is not Variant.ZERO_SHOT:
            fresh = build_tuned(weights, tuning, num_frames=FRAMES, device=CPU, dtype=torch.float32)
            assert not torch.equal(fresh.encode_video(pixels), model.encode_video(pixels))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_only_what_was_tuned_is_written(weights: Weights, tmp_path: Path) -> None:
    tuning, path = TuningConfig(variant=Variant.VOP), tmp_path / "adapter.safetensors"
    write(path, weights, tuning, tuned(weights, tuning))
    assert set(read_safetensors(path).tensors) == {"text_prompts.table", "vision_prompts.sources.0.table"}
    assert path.stat().st_size < 4 * (4 * 8 * 128 * 2) + 4096


def test_what_another_variant_tuned_does_not_fit(weights: Weights, tmp_path: Path) -> None:
    path, other = tmp_path / "adapter.safetensors", TuningConfig(variant=Variant.P)
    write(path, weights, other, tuned(weights, TuningConfig(variant=Variant.VOP)))
    with pytest.raises(WeightsError, match="does not fit demo-tiny"):
        load_tuned(weights, weights.fingerprint(), read_adapter(path), device=CPU, dtype=torch.float32)


def gradient_of(model: VideoTextModel, dtype: torch.dtype) -> torch.Tensor:
    """All gradients of one step, as the loop computes them, in one vector."""
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randn(5, FRAMES, 3, 48, 48, generator=generator)
    tokens = torch.tensor([[49406, word, 49407] for word in (736, 1579, 1746, 4481, 5496)])
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        text, video = model.encode_text(tokens), model.encode_video(pixels.to(dtype))
    loss = contrastive_loss(text, video, model.clip.logit_scale)
    (loss * 1024.0).backward()  # as a gradient scaler does: float16 has few small numbers
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    return torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("variant", [variant for variant in Variant if variant is not Variant.ZERO_SHOT])
def test_a_step_in_low_precision_goes_where_one_in_float32_does(
    weights: Weights, variant: Variant, dtype: torch.dtype
) -> None:
    tuning = TuningConfig(variant=variant, split_layer=2)
    expected = gradient_of(tuned(weights, tuning), torch.float32)
    found = gradient_of(tuned(weights, tuning, dtype), dtype)
    assert found.shape == expected.shape
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.995
    assert found.norm() / expected.norm() == pytest.approx(1.0, abs=0.05)
