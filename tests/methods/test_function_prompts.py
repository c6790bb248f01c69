"""Function-specific prompts against those of plain VoP."""

import torch

from tests.support.methods import (
    SHAPE,
    build,
    videos,
)
from vopcli.config.choices import Variant


def test_f_without_joint_layers_is_plain_vop() -> None:
    joint, plain = build(Variant.F, split_layer=SHAPE.vision_layers), build(Variant.VOP)
    plain.clip.load_state_dict(joint.clip.state_dict())
    plain.vision_prompts.load_state_dict(joint.vision_prompts.shallow.state_dict())
    with torch.no_grad():
        assert torch.equal(joint.encode_frames(videos().double()), plain.encode_frames(videos().double()))
