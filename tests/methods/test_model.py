"""The whole model against the plain loops of tests/support/reference.py, whole tensors."""

import pytest
import torch
from torch.nn import functional

from tests.support.methods import (
    FRAMES,
    JOINT,
    PROMPTED,
    SHAPE,
    VIDEOS,
    build,
    fresh,
    texts,
    videos,
)
from tests.support.reference import VideoReference
from vopcli.config.choices import ContextModule, Sides, Variant
from vopcli.methods.model import CPU_VIDEOS, VideoTextModel


def reference_of(model: VideoTextModel) -> VideoReference:
    variant = model.tuning.variant
    model.merge_changes()
    weights = {name: tensor.detach() for name, tensor in model.clip.state_dict().items()}
    split = model.tuning.split_layer if variant in JOINT else None
    reference = VideoReference(weights, depth=SHAPE.vision_layers, heads=SHAPE.vision_heads, split=split)
    reference.layers = model.tuning.prompted_layers(SHAPE.vision_layers)
    tensors = dict(model.named_parameters())
    shallow = "vision_prompts.shallow.sources" if variant in JOINT else "vision_prompts.sources"
    reference.generic = tensors.get(f"{shallow}.0.table")
    if variant is Variant.LORA_P:
        reference.position = reference.generic
        reference.generic = reference.position[:, :0, 0]
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
    """The last of several videos; that each is encoded as if it were alone is tested below."""
    model = build(variant, sides=Sides.VISUAL, **changes)  # which has more layers than the text tower
    reference = reference_of(model)
    side = SHAPE.image_resolution
    videos = torch.randn(VIDEOS, FRAMES, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        frames = torch.stack(reference.frame_embeddings(videos[-1]))
        expected = functional.normalize(frames.mean(dim=0), dim=0)
        torch.testing.assert_close(model.encode_frames(videos)[-1].double(), frames, rtol=0, atol=1e-6)
        torch.testing.assert_close(model.encode_video(videos)[-1].double(), expected, rtol=0, atol=1e-6)


def test_the_reference_can_tell_the_variants_apart() -> None:
    """Guard: each variant's parts change the output, so an agreement above is not an agreement on nothing."""
    side = SHAPE.image_resolution
    video = torch.randn(1, FRAMES, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        found = torch.stack([build(variant).encode_video(video)[0] for variant in PROMPTED])
    distances = torch.cdist(found, found) + torch.eye(len(PROMPTED))
    assert distances.min() > 1e-3


@pytest.mark.parametrize("variant", Variant)
def test_a_batch_equals_its_videos_one_by_one(variant: Variant) -> None:
    model = fresh(variant)
    with torch.no_grad():
        together = model.encode_video(videos(CPU_VIDEOS + 1))
        alone = torch.cat([model.encode_video(video[None]) for video in videos(CPU_VIDEOS + 1)])
        torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)
        texts_alone = torch.cat([model.encode_text(text[None]) for text in texts()])
        torch.testing.assert_close(model.encode_text(texts()), texts_alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("variant", sorted(JOINT | {Variant.P, Variant.C, Variant.VOP}))
def test_another_number_of_frames_is_refused(variant: Variant) -> None:
    with pytest.raises(ValueError, match=f"videos have 4 frames, the model was tuned for {FRAMES}"):
        fresh(variant).encode_video(videos()[:, :4])
