"""ModelScope's VoP checkpoints: read, converted, and encoding as the equations of that code say."""

import dataclasses
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.support.clip import random_state, tiny_clip
from tests.support.reference import VideoReference, text_embedding
from vopcli.cli.app import app
from vopcli.config.choices import Variant
from vopcli.errors import UsageError, WeightsError
from vopcli.methods.adapter_file import read_adapter
from vopcli.methods.build import load_tuned
from vopcli.methods.modelscope import read_any_adapter, read_modelscope
from vopcli.weights.reader import Weights

SHAPE = dataclasses.replace(
    tiny_clip(), image_resolution=14, vocab_size=40, context_length=16, vision_heads=1, text_heads=1
)
SHAPE = dataclasses.replace(SHAPE, vision_width=64, text_width=64)
SUFFIX = 2


def checkpoint(path: Path, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Write the state dict of ModelScope's module tree: the backbone, both copies, and the prompts."""
    own = {name: torch.from_numpy(array) for name, array in random_state(SHAPE).items()}
    state = {f"clip.{name}": tensor for name, tensor in own.items()}
    for name, tensor in own.items():
        if name.startswith("visual."):
            state[f"image_encoder.{name.removeprefix('visual.')}"] = tensor
        elif name != "logit_scale":
            state[f"text_encoder.{name}"] = tensor
    torch.manual_seed(1)
    state["visual_prompt_learner.visual_prompts"] = torch.randn(SHAPE.vision_layers, 1, 4, 64) * 0.3
    state["text_prompt_learner.text_prompts"] = torch.randn(SHAPE.text_layers, 4, 64) * 0.3
    state |= changes
    state = {name: tensor for name, tensor in state.items() if tensor.numel()}
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 4}, path)
    return own


def test_texts_and_videos_come_out_as_that_code_computes_them(tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "vop.pth")
    weights = Weights(tmp_path, "tiny", "random", SHAPE, {name: item.numpy() for name, item in own.items()})
    adapter = read_modelscope(tmp_path / "vop.pth")
    assert (adapter.tuning.variant, adapter.tuning.prompt_length, adapter.tuning.text_suffix) == (
        Variant.VOP,
        4,
        2,
    )
    cpu = torch.device("cpu")
    model = load_tuned(weights, weights.fingerprint(), adapter, device=cpu, dtype=torch.float32)
    assert model.max_tokens == 12
    double = {name: tensor.double() for name, tensor in own.items()}
    prompts = torch.from_numpy(adapter.tensors["text_prompts.table"]).double()
    for words in (1, 5, 10):  # read at a pad, at a suffix prompt, at the end itself
        ids = [38, *range(1, words + 1), 39]
        padded = ids + [0] * (12 - len(ids))
        expected = text_embedding(padded, double, SHAPE.text_layers, 1, prompts, suffix=SUFFIX)
        found = model.encode_text(torch.tensor([ids]))[0]  # padded by the model, as that code needs it
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    reference = VideoReference(double, depth=SHAPE.vision_layers, heads=1, split=None)
    reference.generic = torch.from_numpy(adapter.tensors["vision_prompts.sources.0.table"]).double()
    video = torch.randn(12, 3, 14, 14)
    expected = torch.stack(reference.frame_embeddings(video.double()))
    found = model.encode_frames(video[None])[0]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_the_split_of_the_text_prompts(tmp_path: Path) -> None:
    path, file = tmp_path / "vop.pth", tmp_path / "configuration.json"
    checkpoint(path)
    assumed = read_modelscope(path)
    assert assumed.assumption.startswith(
        f"of the 4 text prompts of {path}, 2 are assumed to be before the text and 2 after it"
    )
    given = read_modelscope(path, text_suffix=1)
    assert (given.tuning.text_suffix, given.assumption) == (1, "")
    with pytest.raises(UsageError, match="cannot have 5 of its 4 text prompts after the text"):
        read_modelscope(path, text_suffix=5)
    file.write_text('{"hyperparam": {"tp_prefix_token_num": 4, "tp_suffix_token_num": 0}}')
    told = read_any_adapter(path)
    assert (told.tuning.text_suffix, told.assumption) == (0, "")
    assert told.sha256 != assumed.sha256
    with pytest.raises(UsageError, match="cannot have 1 of its 4 text prompts after the text"):
        read_modelscope(path, text_suffix=1)
    file.write_text('{"hyperparam": {"tp_prefix_token_num": 4, "tp_suffix_token_num": 4}}')
    with pytest.raises(WeightsError, match=r"configuration\.json has 4 and 4 text prompts"):
        read_modelscope(path)
    file.write_text('{"model": {}}')
    assert read_modelscope(path).assumption


def test_it_becomes_a_small_adapter_file(tmp_path: Path) -> None:
    checkpoint(tmp_path / "vop.pth")
    adapter = read_any_adapter(tmp_path / "vop.pth")
    paths = [str(tmp_path / name) for name in ("vop.pth", "small.safetensors")]
    done = CliRunner().invoke(app, ["weights", "convert", *paths])
    assert done.exit_code == 0, done.output
    assert "2 are assumed to be before the text" in done.stderr
    shown = dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
    count = f"{sum(tensor.size for tensor in adapter.tensors.values()):,}"
    assert (shown["kind"], shown["variant"], shown["num_parameters"]) == ("vop-adapter", "VoP", count)
    assert shown["backbone"] == adapter.fingerprint
    again = read_any_adapter(tmp_path / "small.safetensors")
    assert again.sha256 == adapter.sha256 == read_adapter(tmp_path / "small.safetensors").sha256
    assert again.fingerprint == adapter.fingerprint
    assert (tmp_path / "small.safetensors").stat().st_size < 20_000


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_encoder.proj": torch.ones(64, 40)}, r"image_encoder\.proj \(differs from the backbone's\)"),
        ({"text_encoder.more": torch.ones(3)}, "do not belong to a VoP checkpoint"),
        ({"other.weight": torch.ones(3)}, r"do not belong to a VoP checkpoint, such as other\.weight"),
        ({"clip.ln_final.bias": torch.empty(0)}, "ln_final"),
        (
            {"text_prompt_learner.text_prompts": torch.empty(0)},
            "neither an adapter of vop nor a VoP checkpoint",
        ),
        ({"text_prompt_learner.text_prompts": torch.ones(2, 6, 64)}, "not those of plain VoP"),
    ],
)
def test_another_checkpoint_is_refused(tmp_path: Path, changes: dict[str, torch.Tensor], match: str) -> None:
    checkpoint(tmp_path / "vop.pth", **changes)
    with pytest.raises(WeightsError, match=match):
        read_any_adapter(tmp_path / "vop.pth")
