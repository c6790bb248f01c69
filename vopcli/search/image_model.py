"""The model of an index for pictures and videos as queries; loads torch for the first of them.

Axes: n frames, S side of a frame in pixels, E joint width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.device import choose_device
from vopcli.config.choices import DecodeRule, Precision
from vopcli.errors import UsageError, format_name
from vopcli.frames.recipe import recorded_fit, recorded_resize, recorded_sampling
from vopcli.index.reader import VideoIndex
from vopcli.methods.encoder import Model
from vopcli.methods.modelscope import own_adapter
from vopcli.methods.pooling import mean_embedding
from vopcli.search.query import split_time
from vopcli.search.text_tower import ModelSource, find_weights
from vopcli.video.preprocess import fit_frame
from vopcli.video.video import FrameSpec, read_windows, stated_duration
from vopcli.video.video_file import WHOLE, TimeWindow


class ImageModel:
    """The model of an index, which embeds pictures and videos as the index embeds its own frames."""

    def __init__(self, index: VideoIndex, source: ModelSource) -> None:
        """Load the model.

        Raises:
            WeightsError: the weights are missing, damaged, or of another model.
            DataError: the adapter that the index was made with is missing, or has changed.
        """
        meta = index.meta
        tuned = own_adapter(index.path, meta, source.progress, source.adapter)
        self._model = Model(
            find_weights(meta, source),
            device=choose_device("auto"),
            precision=Precision.FP32,  # of a single picture, speed is that of the start
            adapter=tuned,
            fingerprint=meta.fingerprint,
            progress=source.progress,
        )
        self._recipe = meta.recipe
        self._size = self._model.shape.image_resolution
        self._resize = recorded_resize(meta.recipe)
        self._fit = recorded_fit(meta.recipe)

    def embed_picture(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a picture (height, width, 3) uint8 RGB as a video that shows it all the time: (E,)."""
        frame = fit_frame(picture, self._size, self._resize, self._fit)
        return self._embed(frame[None].repeat(self._model.num_frames or 1, axis=0), 1)

    def embed_video(self, value: str) -> NDArray[np.float32]:
        """Embed a video, or a part of it, from as many frames as the index has of a video: (E,).

        Args:
            value: `NAME[@START[-END]]`, times in seconds; all of it if a file has that name.

        Raises:
            UsageError: the part begins after the end of the video, or ends before it begins.
            VideoError: the file is missing, not a video, or damaged.
        """
        name, start, end = split_time(value) if not Path(value).exists() else (value, None, None)
        window = WHOLE if start is None else TimeWindow(start, WHOLE.end_seconds if end is None else end)
        duration = stated_duration(name)
        if window.start_seconds >= min(window.end_seconds, duration or WHOLE.end_seconds):
            raise UsageError(
                f"{format_name(value)} has no frames"
                + (f": {format_name(name)} has {duration:g} s" if duration else ""),
                hint=f"give a range within it, such as {format_name(name)}@1-2.5",
            )
        rule = DecodeRule(self._recipe.get("decode", DecodeRule.EXACT))
        sampling = recorded_sampling(self._recipe).middle
        spec = FrameSpec(sampling, self._size, self._resize, self._fit, rule)
        sampled = next(read_windows(name, [window], spec))
        return self._embed(sampled.frames, sampled.num_real)

    def _embed(self, frames: NDArray[np.uint8], num_real: int) -> NDArray[np.float32]:
        """Return the mean over all frames (n, S, S, 3); those from `num_real` on repeat the last one."""
        embedded = self._model.embed(frames[: self._model.num_frames or num_real])
        repeats = embedded[-1:].repeat(len(frames) - len(embedded), axis=0)
        return mean_embedding(np.concatenate([embedded, repeats]))
