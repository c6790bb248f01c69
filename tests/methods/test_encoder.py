"""The Python interface against open_clip on the same tensors, read from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vopcli
from tests.support.extracting import make_videos
from tests.support.models import open_clip_frames, open_clip_texts
from tests.support.progress import Warnings
from vopcli.config.choices import Precision
from vopcli.config.load import override
from vopcli.config.schema import Config
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import FileError, UsageError, VideoError, VopError, WeightsError
from vopcli.methods.encoder import Model, load_model
from vopcli.progress import SilentProgress
from vopcli.weights.reader import read_weights

TEXTS = ["a dog playing with its tail", "", "Zwölf Boxkämpfer 🥊 &amp; ein Deich", "word " * 500, "a"]


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return load_model(weights, precision="fp32", device="cpu")


def random_frames(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Frames with structure, so that resizing matters: noise on a coarse pattern."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[-3], : shape[-2]]
    pattern = (rows * 7 + columns * 3)[..., None] % 256
    return (rng.integers(0, 128, shape) + pattern // 2).astype(np.uint8)


@pytest.mark.parametrize("size", [(35, 35), (48, 70), (81, 36)])
def test_frames_and_videos_equal_open_clip(model: Model, size: tuple[int, int]) -> None:
    frames = random_frames(3, 4, *size, 3)
    expected = open_clip_frames(frames.reshape(-1, *size, 3)).reshape(3, 4, -1)
    # where frames are resized, both round to 8 bits, and now and then to neighbouring values
    tolerance = 1e-5 if size == (35, 35) else 6e-3
    np.testing.assert_allclose(model.encode_frames(frames), expected, atol=tolerance)
    mean = expected.mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode_video(frames), mean, atol=tolerance)
    other = open_clip_frames(frames.reshape(-1, *size, 3), seed=1).reshape(3, 4, -1)
    assert np.abs(other - expected).max() > 0.1  # another model does not pass


def test_texts_equal_open_clip(model: Model) -> None:
    encoded = model.encode_text(TEXTS)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, open_clip_texts(TEXTS), atol=1e-5)
    np.testing.assert_allclose(model.encode_text(TEXTS * 60), np.tile(encoded, (60, 1)), atol=1e-5)


def test_public_names() -> None:
    assert vopcli.load_model is load_model
    code = "import vopcli, sys; assert not {'torch', 'numpy', 'h5py'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_module_is_the_torch_module(model: Model) -> None:
    assert isinstance(model.module, torch.nn.Module)
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert not model.module.training


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_is_close_and_held_low(weights: Path, model: Model, precision: str) -> None:
    low = load_model(weights, precision=precision, device="cpu")
    frames = random_frames(2, 3, 35, 35, 3)
    similarity = (low.encode_frames(frames) * model.encode_frames(frames)).sum(axis=-1)
    assert similarity.min() > 0.999
    assert low.encode_video(frames).dtype == np.float32
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert low.module.clip.visual.conv1.weight.dtype == dtype


def test_batches_do_not_matter(weights: Path, model: Model) -> None:
    frames = random_frames(5, 3, 35, 35, 3)
    expected = model.encode_frames(frames)
    small = load_model(weights, precision="fp32", device="cpu")
    small.batch_size = 4
    np.testing.assert_allclose(small.encode_frames(frames), expected, atol=1e-6)


def test_nothing_in_nothing_out(model: Model) -> None:
    assert model.encode_text([]).shape == (0, 40)
    assert model.encode_frames(np.empty((0, 12, 35, 35, 3), np.uint8)).shape == (0, 12, 40)
    assert model.encode_frames(np.empty((2, 0, 35, 35, 3), np.uint8)).shape == (2, 0, 40)
    assert model.encode_video(np.empty((0, 12, 35, 35, 3), np.uint8)).shape == (0, 40)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 3, 35, 35, 3), np.float32),
        np.zeros((3, 35, 35, 3), np.uint8),
        np.zeros((2, 3, 3, 35, 35), np.uint8),
        [[1, 2, 3]],
    ],
)
def test_frames_of_another_kind(model: Model, frames: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"need uint8 frames \(N, F, H, W, 3\), got"):
        model.encode_video(frames)


def test_other_arguments_of_another_kind(model: Model) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        model.encode_video(np.empty((2, 0, 35, 35, 3), np.uint8))
    with pytest.raises(ValueError, match="frames have no pixels"):
        model.encode_frames(np.empty((2, 1, 0, 35, 3), np.uint8))
    with pytest.raises(ValueError, match="need a list of strings, got str"):
        model.encode_text("a dog")
    with pytest.raises(ValueError, match="need a list of strings"):
        model.encode_text([b"a dog"])  # type: ignore[list-item]


def test_what_cannot_be_loaded(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="run does not exist"):
        load_model(weights, adapter="run")
    assert load_model(weights, device="CPU").device == torch.device("cpu")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        load_model(weights, device="gpu")
    with pytest.raises(UsageError, match="has no device 'cuda:99'"):
        load_model(weights, device="cuda:99")
    with pytest.raises(UsageError, match="unknown device 'cpu:x'"):
        load_model(weights, device="cpu:x")
    with pytest.raises(UsageError, match="unknown precision 'int8'"):
        load_model(weights, precision="int8")
    with pytest.raises(FileError, match=r"none\.safetensors"):
        load_model(tmp_path / "none.safetensors")


class ScarceMemory:
    """Stands for a device whose memory holds so many frames: no such device is here."""

    def __init__(self, model: Model, most: int, error: Exception) -> None:
        self.most, self.error = most, error
        self.sizes: list[int] = []
        model.module.clip.visual.register_forward_pre_hook(self)

    def __call__(self, _: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        self.sizes.append(len(given[0]))
        if len(given[0]) > self.most:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.9 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_halves_the_batch(weights: Path, model: Model, error: Exception) -> None:
    notes = Warnings()
    scarce = Model(
        read_weights(weights), device=torch.device("cpu"), precision=Precision.FP32, progress=notes
    )
    device = ScarceMemory(scarce, 3, error)
    frames = random_frames(4, 5, 35, 35, 3)
    np.testing.assert_allclose(scarce.encode_frames(frames), model.encode_frames(frames), atol=1e-6)
    assert device.sizes == [20, 10, 5, 3, 3, 3, 3, 3, 3, 2]
    assert len(notes.warnings) == 3
    assert "continuing with batches of 3 frames" in notes.warnings[-1]
    device.most = 0
    with pytest.raises(VopError, match="enough memory for a single frame") as raised:
        scarce.encode_frames(frames)
    assert raised.value.hint


def test_other_errors_of_the_model_are_not_taken_for_that(weights: Path) -> None:
    broken = load_model(weights, precision="fp32", device="cpu")
    ScarceMemory(broken, 0, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        broken.encode_frames(random_frames(1, 1, 35, 35, 3))


def test_files_are_encoded_as_an_index_has_them(weights: Path, model: Model, tmp_path: Path) -> None:
    folder = make_videos(tmp_path / "videos", 3)
    config = override(Config(), {"backbone.weights": str(weights), "encoding.precision": "fp32"})
    encode(EncodeRequest([folder], tmp_path / "idx.h5", config, cache=tmp_path / "cache"), SilentProgress())
    rows = list(vopcli.open_index(tmp_path / "idx.h5"))
    found = model.encode_files([row.file for row in rows][::-1], workers=0)
    np.testing.assert_allclose(found, [row.embedding for row in rows][::-1], atol=1e-6)
    other = model.encode_files([row.file for row in rows][::-1], sampling="uniform:2", workers=0)
    assert np.abs(found - other).max() > 1e-3


def test_a_file_that_cannot_be_decoded_is_named(model: Model, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        model.encode_files([tmp_path / "text.mp4"], workers=0)
