"""Position-specific prompts against those of plain VoP."""

import torch

from tests.support.methods import (
    build,
    videos,
)
from vopcli.config.choices import Variant


def test_p_with_all_rows_alike_is_plain_vop() -> None:
    placed, plain = build(Variant.P), build(Variant.VOP)
    generic, position = (source.table for source in placed.vision_prompts.sources)
    with torch.no_grad():
        position[:] = position[:, :1]
        plain.clip.load_state_dict(placed.clip.state_dict())
        plain.vision_prompts.sources[0].table[:] = torch.cat([generic, position[:, 0]], dim=1)
        found, expected = placed.encode_video(videos().double()), plain.encode_video(videos().double())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
