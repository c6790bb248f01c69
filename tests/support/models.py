"""A tiny model in a file, and open_clip built from the very same tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from PIL import Image

from tests.support import peers
from tests.support.clip import random_state, tiny_clip
from vopcli.clip.shape import ClipShape
from vopcli.files.safetensors import write_safetensors_file
from vopcli.weights.model_config import to_metadata

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


def write_model(path: Path, *, seed: int = 0, shape: ClipShape | None = None) -> Path:
    """Write ``random_state`` of a tiny model, as ``vop weights convert`` would."""
    shape = shape or tiny_clip()
    write_safetensors_file(path, random_state(shape, seed=seed), to_metadata(shape))
    return path


def open_clip_model(*, seed: int = 0) -> CLIP:
    """The same model, run by open_clip."""
    return peers.open_clip_model(tiny_clip(), random_state(tiny_clip(), seed=seed))


def open_clip_frames(frames: NDArray[np.uint8], *, seed: int = 0) -> NDArray[np.float32]:
    """Encode (n, H, W, 3) frames: resized and cropped by Pillow, normalised in NumPy, (n, E) of length 1."""
    size = tiny_clip().image_resolution
    pixels = np.stack([_preprocess(frame, size) for frame in frames])
    with torch.inference_mode():
        return open_clip_model(seed=seed).encode_image(torch.from_numpy(pixels), normalize=True).numpy()


def open_clip_texts(texts: list[str], *, seed: int = 0) -> NDArray[np.float32]:
    """Encode texts to (n, E) of length 1, with open_clip's tokenizer."""
    from open_clip.tokenizer import SimpleTokenizer

    with torch.inference_mode():
        return open_clip_model(seed=seed).encode_text(SimpleTokenizer()(texts), normalize=True).numpy()


def _preprocess(frame: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    image = Image.fromarray(frame)
    width, height = image.size
    short = min(width, height)
    resized = image.resize((int(size * width / short), int(size * height / short)), Image.Resampling.BICUBIC)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    cropped = np.asarray(resized.crop((left, top, left + size, top + size))) / 255
    return ((cropped - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)
