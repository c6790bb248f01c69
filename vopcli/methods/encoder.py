"""The model of the Python API: encodes arrays of frames and texts on the chosen device.

Axes: N videos or texts, F frames, E joint width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vopcli.clip.device import BATCH_FRAMES, DTYPES, choose_device, choose_precision
from vopcli.clip.shape import ClipShape
from vopcli.clip.tokenizer import Tokenizer
from vopcli.clip.vision import normalise
from vopcli.config.choices import Activation, Precision
from vopcli.config.schema import DEFAULT_SAMPLING_RULE, DEFAULT_WEIGHTS
from vopcli.errors import VideoError
from vopcli.frames.recipe import recorded_fit, recorded_resize
from vopcli.methods.adapter_file import Adapter
from vopcli.methods.build import load_tuned
from vopcli.methods.memory import encode_in_batches
from vopcli.methods.model import VideoTextModel
from vopcli.methods.modelscope import read_any_adapter
from vopcli.methods.pooling import mean_embedding
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import cache_folder, num_workers
from vopcli.video.pool import DecodeJob, decode_videos
from vopcli.video.preprocess import fit_frame
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import FrameSpec
from vopcli.weights.build import build_clip
from vopcli.weights.reader import Weights, open_weights

_TEXTS: Final = 256  # of a batch


class Model:
    """A CLIP model ready to encode videos and texts.

    Attributes:
        module: the torch module.
        name: name of the weights.
        fingerprint: SHA-256 of the backbone's tensors.
        shape: sizes of both towers.
        device: device it runs on.
        precision: dtype it computes in.
        num_frames: number of frames of a video, with an adapter; None: any, as each is encoded by itself.
        batch_size: frames of a forward pass; halved when the device is out of memory.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: torch.device,
        precision: Precision,
        adapter: Adapter | None = None,
        fingerprint: str = "",
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.name = weights.name
        self.shape: ClipShape = weights.shape
        self.fingerprint = fingerprint or weights.fingerprint()
        self.device = device
        self.precision = precision
        self._recipe = adapter.recipe if adapter else {}
        usual = self.shape.preprocessing
        self.fit = recorded_fit(self._recipe) if adapter else usual.fit
        self.resize = recorded_resize(self._recipe) if adapter else usual.resize
        self.batch_size = batch_size or BATCH_FRAMES.get(device.type, 96)
        dtype = DTYPES[precision]
        if adapter is None:
            self.module = VideoTextModel(build_clip(weights, device=device, dtype=dtype)).eval()
        else:
            self.module = load_tuned(weights, self.fingerprint, adapter, device=device, dtype=dtype)
        self.num_frames = self.module.num_frames
        self._progress: Progress = progress or SilentProgress()
        self._tokenizer: Tokenizer | None = None

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts; those longer than the model's context are truncated.

        Returns:
            (N, E) float32, L2-normalised.

        Raises:
            ValueError: ``texts`` is a single string, or has items that are not strings.

        Examples:
            >>> model.encode_text(["a red circle", "a blue star"]).shape
            (2, 128)
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"need a list of strings, got {type(texts).__name__}")
        tokenizer = self._tokenizer = self._tokenizer or Tokenizer()
        out = np.empty((len(texts), self.shape.embed_dim), np.float32)

        def encode(batch: slice) -> Tensor:
            ids, _ = tokenizer.tokenize(texts[batch], max_tokens=self.module.max_tokens)
            return self.module.encode_text(torch.from_numpy(ids).to(self.device))

        encode_in_batches(
            encode, out, batch_size=_TEXTS, device=self.device, progress=self._progress, unit="text"
        )
        return out

    def encode_files(
        self, paths: Sequence[str | Path], *, sampling: str | None = None, workers: int | None = None
    ) -> NDArray[np.float32]:
        """Decode and encode video files.

        Args:
            paths: the files.
            sampling: the frames to take, such as "uniform:12" or "fps:1"; None: as the adapter was tuned, or
                12 uniform frames.
            workers: decoding processes; None: one per usable core, 0: decode in this process.

        Returns:
            (N, E) float32, L2-normalised, in the order of ``paths``.

        Raises:
            VideoError: a file cannot be decoded.
            UsageError: ``sampling`` is unknown.

        Examples:
            >>> model.encode_files(["videos/train/red-circle-right-01.mp4"], workers=0).shape
            (1, 128)
        """
        rule = parse_sampling(sampling or str(self._recipe.get("sampling", DEFAULT_SAMPLING_RULE)))
        out = np.empty((len(paths), self.shape.embed_dim), np.float32)
        decoded = decode_videos(
            (DecodeJob(number, os.fspath(path)) for number, path in enumerate(paths)),
            FrameSpec(rule, self.shape.image_resolution, self.resize, self.fit),
            workers=num_workers(workers),
        )
        for job, sampled in decoded:
            if isinstance(sampled, VideoError):
                raise sampled
            out[job.key] = self.encode_video(sampled.frames[None])[0]
        return out

    def encode_video(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode videos given by their frames, RGB of any size; see `encode_frames`.

        Args:
            frames: (N, F, H, W, 3) uint8.

        Returns:
            (N, E) float32, L2-normalised: the mean of all F frames' embeddings, normalised again.

        Raises:
            ValueError: ``frames`` has another dtype or shape, or a video has no frames.

        Examples:
            >>> model.encode_video(np.zeros((2, 12, 48, 48, 3), np.uint8)).shape
            (2, 128)
        """
        embedded = self.encode_frames(frames)
        if not embedded.shape[1]:
            raise ValueError("a video needs at least one frame")
        return mean_embedding(embedded)

    def encode_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode each frame; frames of another size than the model's are resized like videos.

        Args:
            frames: (N, F, H, W, 3) uint8 RGB.

        Returns:
            (N, F, E) float32, L2-normalised.

        Raises:
            ValueError: ``frames`` has another dtype or shape.

        Examples:
            >>> model.encode_frames(np.zeros((2, 12, 48, 48, 3), np.uint8)).shape
            (2, 12, 128)
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
            raise ValueError(f"need uint8 frames (N, F, H, W, 3), got {frames.dtype} {frames.shape}")
        videos, length = frames.shape[:2]
        if self.num_frames not in {None, length}:
            raise ValueError(f"videos have {length} frames, the model was tuned for {self.num_frames}")
        if videos * length and not frames.size:
            raise ValueError(f"frames have no pixels: {frames.shape}")
        flat = frames.reshape(videos * length, *frames.shape[2:])  # (N * F, H, W, 3)
        return self.embed(flat).reshape(videos, length, self.shape.embed_dim)

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode (n, H, W, 3) uint8 frames to (n, E) float32, L2-normalised, in batches.

        With an adapter the frames must be those of whole videos, one video after the other.

        Raises:
            VopError: the device is out of memory for a single frame, or with an adapter a single video.
            RuntimeError: the model failed for another reason.

        Examples:
            >>> model.embed(np.zeros((3, 48, 48, 3), np.uint8)).shape
            (3, 128)
        """
        out = np.empty((len(frames), self.shape.embed_dim), np.float32)
        self.batch_size = encode_in_batches(
            lambda batch: self._forward(frames[batch]),
            out,
            batch_size=self.batch_size,
            device=self.device,
            progress=self._progress,
            unit="frame",
            at_least=self.num_frames or 1,
        )
        return out

    def _forward(self, frames: NDArray[np.uint8]) -> Tensor:
        size = self.shape.image_resolution
        if frames.shape[1:3] != (size, size):
            frames = np.stack([fit_frame(frame, size, self.resize, self.fit) for frame in frames])
        frames = np.require(frames, requirements=["C", "W"])  # torch warns of arrays that cannot be written
        pixels = normalise(
            torch.from_numpy(frames),
            self.shape.preprocessing,
            dtype=DTYPES[self.precision],
            device=self.device,
        )
        videos = pixels[None] if self.num_frames is None else pixels.unflatten(0, (-1, self.num_frames))
        return self.module.encode_frames(videos).flatten(0, 1)


def load_model(
    weights: str | Path = DEFAULT_WEIGHTS,
    adapter: str | Path | None = None,
    device: str = "auto",
    precision: str | Precision = "auto",
    activation: str | Activation | None = None,
) -> Model:
    """Load a CLIP model.

    Args:
        weights: a path, or a name of ``vop weights list``, which is downloaded if needed.
        adapter: an adapter file or a run folder with one; None: the plain backbone.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        activation: ``quick_gelu`` or ``gelu``, for files that do not contain it.

    Raises:
        ValueError: ``activation`` is unknown.
        WeightsError: the weights are missing, damaged, or not those of a CLIP model.
        UsageError: the device or precision is unknown or not available.

    Examples:
        >>> model = vopcli.load_model("demo-tiny", device="cpu")
        >>> model.encode_text(["a red circle"]).shape
        (1, 128)
    """
    chosen = choose_device(device)
    tuned = None if adapter is None else read_any_adapter(Path(adapter))
    read = open_weights(
        str(weights),
        cache=cache_folder(),
        progress=SilentProgress(),
        activation=None if activation is None else Activation(activation),
        fingerprint=tuned.fingerprint if tuned else "",
    )
    return Model(read, device=chosen, precision=choose_precision(precision, chosen), adapter=tuned)
