import pytest
import torch

from tests.support.clip import VOCAB_SIZE, openai_shape, random_clip, random_tokens, tiny_clip
from vopcli.clip.model import Clip
from vopcli.clip.shape import ClipShape

SOT, EOT = VOCAB_SIZE - 2, VOCAB_SIZE - 1


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(tiny_clip(), id="tiny"),
        pytest.param(openai_shape("ViT-B/32"), id="ViT-B/32", marks=pytest.mark.slow),
    ],
)
def test_cut_batch_equals_padded(shape: ClipShape) -> None:
    clip = random_clip(shape)
    padded = random_tokens(12, length=40)
    longest = int((padded != 0).sum(dim=1).max())
    padded = torch.nn.functional.pad(padded, (0, 77 - 40))
    assert longest < 40
    torch.testing.assert_close(
        clip.encode_text(padded[:, :longest]), clip.encode_text(padded), rtol=2e-6, atol=2e-6
    )


def test_embedding_is_read_at_the_first_highest_id() -> None:
    clip = random_clip(tiny_clip())
    once = torch.tensor([[SOT, 320, 1929, EOT, 0, 0]])
    twice = torch.tensor([[SOT, 320, 1929, EOT, 269, EOT]])
    torch.testing.assert_close(clip.encode_text(twice), clip.encode_text(once), rtol=1e-6, atol=1e-6)
    longer = torch.tensor([[SOT, 320, 1929, 269, EOT, 0]])
    assert not torch.allclose(clip.encode_text(longer), clip.encode_text(once), atol=1e-3)


def test_too_long_is_refused() -> None:
    clip = random_clip(tiny_clip())
    with pytest.raises(ValueError, match="texts are 78 tokens long, the model takes 77"):
        clip.encode_text(torch.ones(1, 78, dtype=torch.int64))


class InsertAfterStart:
    """Two tokens after the start, before the positions are added; taken out again after each layer."""

    def before(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        added = torch.full_like(tokens[:, :2], 0.5 + layer)
        return torch.cat([tokens[:, :1], added, tokens[:, 1:]], dim=1)

    def num_read(self, layer: int) -> int | None:
        return None

    def after(self, layer: int, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([tokens[:, :1], tokens[:, 3:]], dim=1)


def by_hand(clip: Clip, tokens: torch.Tensor) -> torch.Tensor:
    hook = InsertAfterStart()
    embedded = hook.before(0, clip.token_embedding(tokens))
    states = hook.after(
        0, clip.transformer.resblocks[0](embedded + clip.positional_embedding[: embedded.shape[1]])
    )
    for layer in range(1, len(clip.transformer.resblocks)):
        states = hook.after(layer, clip.transformer.resblocks[layer](hook.before(layer, states)))
    ends = [row.tolist().index(EOT) for row in tokens]
    rows = torch.stack([clip.ln_final(states)[number, end] for number, end in enumerate(ends)])
    return rows @ clip.text_projection


def test_first_hook_stands_before_the_positions() -> None:
    clip = random_clip(tiny_clip())
    tokens = random_tokens(4, length=11)
    found = clip.encode_text(tokens, InsertAfterStart())
    torch.testing.assert_close(found, by_hand(clip, tokens), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, clip.encode_text(tokens), atol=1e-3)


def test_what_a_hook_adds_counts_for_the_length() -> None:
    clip = random_clip(tiny_clip())
    clip.encode_text(torch.ones(1, 75, dtype=torch.int64), InsertAfterStart())
    with pytest.raises(ValueError, match="78 tokens long"):
        clip.encode_text(torch.ones(1, 76, dtype=torch.int64), InsertAfterStart())


def test_no_texts_give_no_embeddings() -> None:
    assert random_clip(tiny_clip()).encode_text(torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 40)
