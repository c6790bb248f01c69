"""MTEB evaluates a model of ours on a task of its own, without a network."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.support.models import write_model
from vopcli.methods.encoder import load_model

mteb = pytest.importorskip("mteb", reason='needs `pip install "vopcli[mteb]"`')

TEXTS = ["a dog", "a red circle", "two men talk", "rain"]
LENGTHS = [3, 12, 30, 17]


def videos() -> list[np.ndarray[Any, Any]]:
    """Return videos (F, 3, H, W) of several lengths and sizes."""
    random = np.random.default_rng(0)
    return [
        random.integers(0, 256, (length, 3, 20 + length, 31), np.uint8, endpoint=False) for length in LENGTHS
    ]


def expected_frames(video: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the middle frame of each of 12 segments; of a shorter video all, and the last one again."""
    count = len(video)
    if count < 12:
        chosen = [min(k, count - 1) for k in range(12)]
    else:
        bounds = [count * k // 12 for k in range(13)]
        chosen = [a + max((b - a - 1) // 2, 0) for a, b in pairwise(bounds)]
    return video[chosen].transpose(0, 2, 3, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of other packages
def test_a_retrieval_task_of_mteb(tmp_path: Path) -> None:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    from vopcli.integrations.mteb import MtebModel

    class Stub(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="StubT2V",
            description="Four videos.",
            dataset={"path": "none", "revision": "1"},
            type="Any2AnyRetrieval",
            eval_langs=["eng-Latn"],
            eval_splits=["test"],
            main_score="recall_at_1",
            category="t2v",
            modalities=["text", "video"],
        )

        def load_data(self, **_: Any) -> None:
            ids = [str(number) for number in range(4)]
            corpus = Dataset.from_dict({"id": ids, "video": [video.tolist() for video in videos()]})
            queries = Dataset.from_dict({"id": ids, "text": TEXTS})
            relevant = {i: {i: 1} for i in ids}
            split = {"queries": queries, "corpus": corpus, "relevant_docs": relevant, "top_ranked": None}
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    weights = write_model(tmp_path / "tiny.safetensors")
    wrapped, model = MtebModel(weights, device="cpu"), load_model(weights, device="cpu")
    result = mteb.evaluate(wrapped, Stub(), cache=None, show_progress_bar=False)
    texts = model.encode_text(TEXTS)
    embedded = np.concatenate([model.encode_video(expected_frames(video)[None]) for video in videos()])
    recall = float((np.argmax(texts @ embedded.T, axis=1) == np.arange(4)).mean())
    assert result.task_results[0].scores["test"][0]["recall_at_1"] == pytest.approx(recall)
    encoded = wrapped.encode(DataLoader([{"video": video} for video in videos()], batch_size=3))
    np.testing.assert_array_equal(encoded, embedded)
    encoded = wrapped.encode(DataLoader([{"text": text} for text in TEXTS]))  # one by one
    np.testing.assert_allclose(encoded, texts, atol=1e-6)
    with pytest.raises(ValueError, match="text or of video, got text, video"):
        wrapped.encode(DataLoader([{"text": "a dog", "video": videos()[0]}]))
