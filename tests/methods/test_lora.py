"""Low-rank changes of the attention against changed matrices."""

import copy

import torch

from tests.support.methods import build, texts, videos
from vopcli.config.choices import Variant
from vopcli.methods.model import VideoTextModel


def add_by_hand(model: VideoTextModel) -> VideoTextModel:
    """The same model, whose matrices have the changes of its modules added one number after the other."""
    plain = copy.deepcopy(model)
    towers = (plain.clip.transformer, plain.clip.visual.transformer)
    for tower, changes in zip(towers, (plain.text_adapters, plain.vision_adapters), strict=True):
        for block, change in zip(tower.resblocks, changes, strict=True):
            block.attn.changes = ()
            for row, up in enumerate(change.up.weight):
                for rank, factor in enumerate(up):
                    block.attn.in_proj_weight.data[row] += factor * change.down.weight[rank]
    return plain


def test_a_change_is_added_to_the_matrix_of_its_layer_and_merged_without_effect() -> None:
    model = build(Variant.LORA_P)
    frames = videos().double()
    with torch.no_grad():
        plain = add_by_hand(model)
        merged = copy.deepcopy(model)
        merged.merge_changes()
        assert not any(block.attn.changes for block in merged.clip.transformer.resblocks)
        for found in (model, merged):
            for encoded, expected in (
                (found.encode_text(texts()), plain.encode_text(texts())),
                (found.encode_video(frames), plain.encode_video(frames)),
            ):
                torch.testing.assert_close(encoded, expected, rtol=0, atol=1e-6)
        unchanged = copy.deepcopy(plain)
        unchanged.clip.load_state_dict(model.clip.state_dict())
        assert (unchanged.encode_text(texts()) - model.encode_text(texts())).abs().max() > 1e-2
