"""Batches: every sample once an epoch, the right frames beside the right caption."""

from pathlib import Path

import numpy as np

from tests.support.training import FRAMES, SIDE, samples_of
from vopcli.training.batches import epoch_candidates, epoch_order, read_batches


def test_every_sample_comes_once_with_its_own_frames_and_caption(training_store: Path) -> None:
    samples = samples_of(training_store)
    order = epoch_order(len(samples), seed=1, epoch=2)
    seen = []
    for batch in read_batches(samples, order, batch_size=6, pin=False):
        assert batch.frames.shape[1:] == (FRAMES, SIDE, SIDE, 3)
        for frames, tokens, name in zip(batch.frames, batch.tokens, batch.names, strict=True):
            index = int(order[len(seen)])
            video = samples.videos[index]
            assert name == video.path
            assert np.array_equal(frames.numpy(), samples.store.read(video))
            assert np.array_equal(np.trim_zeros(tokens.numpy()), np.trim_zeros(samples.tokens[index]))
            seen.append(index)
        assert batch.tokens[:, -1].any(), "the batch is cut after its longest caption"
    assert sorted(seen) == list(range(len(samples)))


def test_captions_are_padded_to_a_multiple_if_asked_for(training_store: Path) -> None:
    samples = samples_of(training_store)
    order = epoch_order(len(samples), seed=0, epoch=0)
    cut, padded = (
        list(read_batches(samples, order, batch_size=1, pin=False, text_multiple=multiple))
        for multiple in (1, 4)
    )
    assert {batch.tokens.shape[1] for batch in cut} == {3, 4, 5, 6, 7, 8}
    assert {batch.tokens.shape[1] for batch in padded} == {4, 8}
    for short, long in zip(cut, padded, strict=True):
        assert np.array_equal(short.frames, long.frames)
        assert np.array_equal(short.tokens, long.tokens[:, : short.tokens.shape[1]])
        assert not long.tokens[:, short.tokens.shape[1] :].any()


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(50, seed=1, epoch=2)
    assert np.array_equal(first, epoch_order(50, seed=1, epoch=2))
    assert not np.array_equal(first, epoch_order(50, seed=1, epoch=3))
    assert not np.array_equal(first, epoch_order(50, seed=2, epoch=2))
    assert np.array_equal(np.sort(first), np.arange(50))


def test_one_candidate_of_each_segment_is_drawn(candidates_store: Path, training_store: Path) -> None:
    samples = samples_of(candidates_store)
    order = epoch_order(len(samples), seed=1, epoch=0)
    every = {}  # of each video all its frames, (F, C, S, S, 3)
    for video in set(samples.videos):
        each = [np.full((1, FRAMES), place) for place in range(3)]
        out = np.empty((1, FRAMES, SIDE, SIDE, 3), np.uint8)
        every[video.path] = np.stack(
            [samples.store.read_batch([video], out, place)[0].copy() for place in each], axis=1
        )
    seen = []
    for epoch in range(4):
        drawn = epoch_candidates(samples, seed=1, epoch=epoch)
        assert drawn is not None
        assert drawn.shape == (len(samples), FRAMES)
        batches = read_batches(samples, order, candidates=drawn, batch_size=6, pin=False)
        shown = [(n, f.numpy()) for batch in batches for n, f in zip(batch.names, batch.frames, strict=True)]
        for index, (name, frames) in zip(order, shown, strict=True):
            np.testing.assert_array_equal(frames, every[name][np.arange(FRAMES), drawn[index]])
        seen.append(drawn)
    share = np.bincount(np.ravel(seen), minlength=3) / np.size(seen)
    assert share.min() > 0.2
    assert not np.array_equal(seen[0], seen[1]), "each epoch draws anew"
    assert len({row.tobytes() for row in seen[0]}) > 10, "each sample has a draw of its own"
    again = epoch_candidates(samples, seed=1, epoch=1)
    other = epoch_candidates(samples, seed=2, epoch=1)
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(again, seen[1])
    assert not np.array_equal(other, seen[1])
    assert epoch_candidates(samples_of(training_store), seed=1, epoch=0) is None
