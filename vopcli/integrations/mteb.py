"""A backbone or a tuned run as a model of MTEB, the Massive Text Embedding Benchmark, for video retrieval.

    import mteb
    from vopcli.integrations.mteb import MtebModel

    model = MtebModel("ViT-B/32", adapter="runs/P+F-seed0")
    mteb.evaluate(model, mteb.get_tasks(tasks=["MSRVTTT2V"]))

Needs ``pip install "vopcli[mteb]"``, and torchcodec with FFmpeg to decode the videos of MTEB's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from numpy.typing import NDArray

from vopcli.config.schema import DEFAULT_NUM_FRAMES
from vopcli.methods.encoder import load_model
from vopcli.video.sampling import uniform_indices


class MtebModel(AbsEncoder):
    """Encodes the texts and videos of MTEB's tasks; takes uniform frames of a video, as `vop encode` does.

    Attributes:
        model: the `vopcli.Model`.
        num_frames: frames of a video.
        mteb_model_meta: description of the model in MTEB's results.
    """

    def __init__(
        self, weights: str | Path, adapter: str | Path | None = None, *, device: str = "auto"
    ) -> None:
        """Load a model; see `vopcli.load_model`.

        Raises:
            VopError: as `vopcli.load_model`.
        """
        self.model = load_model(weights, adapter, device)
        self.num_frames = self.model.num_frames or DEFAULT_NUM_FRAMES
        tuned = "" if adapter is None else f"-{Path(adapter).name}"
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"vop/{self.model.name.replace('/', '-')}{tuned}",
                "revision": self.model.fingerprint[:16],
                "n_parameters": sum(each.numel() for each in self.model.module.parameters()),
                "max_tokens": self.model.module.max_tokens,
                "embed_dim": self.model.shape.embed_dim,
                "framework": ["PyTorch"],
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": False,
                "modalities": ["text", "video"],
            }
        )

    def encode(self, inputs: Any, **_: Any) -> NDArray[np.float32]:
        """Encode the texts or videos of a data loader: (N, E) float32, L2-normalised.

        Args:
            inputs: yields batches, mappings with a list of ``text`` or ``video``; a video is a sequence of
                frames (3, H, W) uint8 RGB, such as a tensor or torchcodec's decoder.

        Raises:
            ValueError: the inputs have both texts and videos, or neither.
        """
        inputs.collate_fn = self._collate  # frames are chosen in the loader's processes, one video at a time
        parts = [self._encode(batch) for batch in inputs]
        return np.concatenate(parts) if parts else np.empty((0, self.model.shape.embed_dim), np.float32)

    def _encode(self, batch: Mapping[str, Sequence[Any]]) -> NDArray[np.float32]:
        if ("text" in batch) == ("video" in batch):
            raise ValueError(f"need inputs of text or of video, got {', '.join(batch) or 'none'}")
        if "text" in batch:
            return self.model.encode_text(batch["text"])
        return np.concatenate([self.model.encode_video(frames[None]) for frames in batch["video"]])

    def _collate(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
        chosen = [
            {
                name: self._frames(row[name]) if name == "video" else row[name]
                for name in ("text", "video")
                if name in row
            }
            for row in rows
        ]
        return {name: [row[name] for row in chosen] for name in chosen[0]}

    def _frames(self, video: Sequence[Any]) -> NDArray[np.uint8]:
        """Take uniform frames (F, H, W, 3) of a video; a shorter one repeats its last frame."""
        indices = uniform_indices(self.num_frames, len(video))
        indices += indices[-1:] * (self.num_frames - len(indices))
        return np.stack([np.asarray(video[index], np.uint8).transpose(1, 2, 0) for index in indices])
