"""The fast towers with their prompts against the plain loops of tests/support/reference.py, whole tensors."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.support.reference import VideoReference, text_embedding
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation, ContextModule, Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.methods.model import VideoTextModel

# odd sizes, so that no two axes can be taken for each other: 3 heads of 4, 9 patches, 5 frames, 4 layers
SHAPE = ClipShape(
    embed_dim=10,
    image_resolution=15,
    patch_size=5,
    vision_layers=4,
    vision_width=12,
    vision_heads=3,
    context_length=19,
    vocab_size=31,
    text_layers=3,
    text_width=8,
    text_heads=2,
    activation=Activation.QUICK_GELU,
)
FRAMES, VIDEOS = 5, 2
TUNING = TuningConfig(prompt_length=3, specific_length=2, split_layer=2)
JOINT = {Variant.F, Variant.P_F, Variant.C_F}
PROMPTED = [Variant.VOP, Variant.P, Variant.C, Variant.F, Variant.P_F, Variant.C_F]


def build(variant: Variant, **changes: object) -> VideoTextModel:
    torch.manual_seed(3)
    tuning = dataclasses.replace(TUNING, variant=variant, **changes)
    model = VideoTextModel(Clip(SHAPE), tuning, num_frames=FRAMES).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # nothing small, nothing zero: a part left out must be seen
    return model


def reference_of(model: VideoTextModel) -> VideoReference:
    variant = model.tuning.variant
    weights = {name: tensor.detach() for name, tensor in model.clip.state_dict().items()}
    split = model.tuning.split_layer if variant in JOINT else None
    reference = VideoReference(weights, depth=SHAPE.vision_layers, heads=SHAPE.vision_heads, split=split)
    reference.layers = model.tuning.prompted_layers(SHAPE.vision_layers)
    tensors = dict(model.named_parameters())
    shallow = "vision_prompts.shallow.sources" if variant in JOINT else "vision_prompts.sources"
    reference.generic = tensors.get(f"{shallow}.0.table")
    if variant in {Variant.P, Variant.P_F}:
        reference.position = tensors.get(f"{shallow}.1.table")
    if variant in {Variant.C, Variant.C_F}:
        prefix = f"{shallow}.1."
        own = {
            name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
        }
        reference.context = {name.removeprefix("reader."): tensor for name, tensor in own.items()}
    if variant in JOINT:
        reference.joint = tensors["vision_prompts.table"]
        reference.frame_embedding = tensors["vision_prompts.frame_embedding"]
    return reference


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        *((variant, {}) for variant in PROMPTED),
        *((Variant.C, {"context_module": kind}) for kind in (ContextModule.LSTM, ContextModule.TRANSFORMER)),
        *((variant, {"layers": layers}) for variant in PROMPTED for layers in ("1,3", "2,4")),
        *((variant, {"layers": "4"}) for variant in sorted(JOINT)),
        *((variant, {"split_layer": 0}) for variant in sorted(JOINT)),
    ],
    ids=str,
)
def test_videos_agree_with_the_plain_loops(variant: Variant, changes: dict[str, object]) -> None:
    model = build(variant, sides=Sides.VISUAL, **changes)  # which has more layers than the text tower
    reference = reference_of(model)
    side = SHAPE.image_resolution
    videos = torch.randn(VIDEOS, FRAMES, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        expected_frames = torch.stack([torch.stack(reference.frame_embeddings(video)) for video in videos])
        expected = torch.stack([reference.embedding(video) for video in videos])
        torch.testing.assert_close(model.encode_frames(videos).double(), expected_frames, rtol=0, atol=1e-6)
        torch.testing.assert_close(model.encode_video(videos).double(), expected, rtol=0, atol=1e-6)


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


def test_the_reference_can_tell_the_variants_apart() -> None:
    """Guard: each variant's parts change the output, so an agreement above is not an agreement on nothing."""
    side = SHAPE.image_resolution
    video = torch.randn(1, FRAMES, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        found = torch.stack([build(variant).encode_video(video)[0] for variant in PROMPTED])
    distances = torch.cdist(found, found) + torch.eye(len(PROMPTED))
    assert distances.min() > 1e-3
