"""On a GPU: parity with open_clip, resumed runs, too little memory, compiled towers; on the CPU in small."""

import contextlib
import dataclasses
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn import functional
from train import Work, make_store, training_job

from tests.support.clip import clip_of, openai_shape, random_pixels, random_state, random_tokens, tiny_clip
from tests.support.peers import open_clip_model
from tests.support.progress import Interrupting, Warnings
from tests.support.training import job_of
from vopcli.clip.shape import ClipShape
from vopcli.methods.model import trained_tensors
from vopcli.progress import SilentProgress
from vopcli.training.batches import epoch_order
from vopcli.training.checkpoint import RunState, load_checkpoint
from vopcli.training.loop import TrainingJob, train

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may add in another order each time
CPU = torch.device("cpu")
CUDA = pytest.param(torch.device("cuda"), marks=pytest.mark.gpu, id="cuda")


@pytest.fixture(autouse=True)
def _same_arithmetic() -> Iterator[None]:
    """Disable TF32 in cuDNN, and free the GPU memory after each test."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


@pytest.mark.parametrize(
    ("device", "shape"),
    [
        pytest.param(CPU, tiny_clip(), id="cpu"),
        pytest.param(torch.device("cuda"), openai_shape("ViT-B/32"), marks=pytest.mark.gpu, id="cuda"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@torch.inference_mode()
def test_both_towers_match_open_clip(device: torch.device, shape: ClipShape, dtype: torch.dtype) -> None:
    state, pixels, tokens = random_state(shape), random_pixels(shape, 16), random_tokens(16)
    ours, peer = clip_of(shape, state, dtype=dtype).to(device), open_clip_model(shape, state).to(device)
    pixels, tokens = pixels.to(device), tokens.to(device)
    for found, expected in (
        (ours.encode_image(pixels), peer.encode_image(pixels)),
        (ours.encode_text(tokens), peer.encode_text(tokens)),
    ):
        if dtype == torch.float32:
            unit, expected_unit = (functional.normalize(one, dim=-1) for one in (found, expected))
            torch.testing.assert_close(unit, expected_unit, rtol=0, atol=1e-5)
        else:
            assert functional.cosine_similarity(found.float(), expected).min() >= 1 - 1e-3


def on(device: torch.device, job: TrainingJob) -> TrainingJob:
    job.model.to(device)
    return job


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_resumed_run_equals_one_that_was_not_interrupted(
    training_store: Path, tmp_path: Path, device: torch.device
) -> None:
    # kernels that add in varying order would hide a difference between the runs
    torch.use_deterministic_algorithms(True)
    try:
        straight = on(device, job_of(training_store, tmp_path / "straight"))
        train(straight, RunState({}), SilentProgress())
        stopped = on(device, job_of(training_store, tmp_path / "stopped"))
        with pytest.raises(KeyboardInterrupt):
            train(stopped, RunState({}), Interrupting(6))
        resumed = on(device, job_of(training_store, tmp_path / "stopped"))
        state = load_checkpoint(tmp_path / "stopped" / "last.ckpt", {}, resumed.model)
        assert 0 < state.step < 12
        train(resumed, state, SilentProgress())
    finally:
        torch.use_deterministic_algorithms(False)
    for name, tensor in trained_tensors(straight.model).items():
        assert torch.equal(trained_tensors(resumed.model)[name], tensor), name


def peak_bytes(job: TrainingJob) -> int:
    """Train, and return the most memory of the GPU that was held."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(job, RunState({}), SilentProgress())
    return torch.cuda.max_memory_reserved()


@contextlib.contextmanager
def little_memory(num_bytes: int) -> Iterator[None]:
    """Take all free memory of the GPU but ``num_bytes``."""
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - num_bytes, dtype=torch.uint8, device="cuda")
    yield
    del taken


@pytest.mark.gpu
def test_where_the_gpu_has_too_little_memory_half_the_videos_are_tried(tmp_path: Path) -> None:
    work = Work(videos=16, stored=16, device=torch.device("cuda"))
    store = make_store(tmp_path / "out.h5", work)

    def job(name: str, **settings: object) -> TrainingJob:
        (tmp_path / name).mkdir()
        return training_job(work, "VoP", store, tmp_path / name, **settings)

    whole = peak_bytes(job("whole"))
    parts = job("parts", micro_batch=work.videos // 2)
    needed = peak_bytes(parts)
    parts.model.cpu()  # so that one model is held, as while the peaks were measured
    assert whole > needed * 1.3
    halving, told = job("halving", auto_batch=True), Warnings()
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()
    with little_memory((whole + needed) // 2 - held):
        train(halving, RunState({}), told)
    assert told.warnings == [
        f"{work.videos} videos at a time do not fit the memory of cuda:0: continuing with {work.videos // 2}"
    ]
    for name, tensor in trained_tensors(parts.model).items():
        torch.testing.assert_close(trained_tensors(halving.model)[name], tensor, rtol=0, atol=1e-5)


def with_lengths(job: TrainingJob, lengths: list[int]) -> TrainingJob:
    """Give the captions of each batch in turn one of the lengths, in tokens."""
    tokens, rng = np.zeros((len(job.samples), 17), np.int64), np.random.default_rng(0)
    for place, sample in enumerate(epoch_order(len(tokens), seed=job.config.seed, epoch=0)):
        length = lengths[place // job.config.batch_size % len(lengths)]
        tokens[sample, :length] = [48, *rng.integers(1, 48, length - 2), 49]
    return dataclasses.replace(job, samples=dataclasses.replace(job.samples, tokens=tokens))


@pytest.mark.slow
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_compiled_towers_are_compiled_once_for_many_text_lengths(
    training_store: Path, tmp_path: Path, device: torch.device
) -> None:
    def trained(name: str, lengths: list[int], *, compiled: bool) -> dict[str, torch.Tensor]:
        job = job_of(training_store, tmp_path / name, epochs=1, batch_size=5, compile=compiled)
        job = with_lengths(on(device, job), lengths)
        train(job, RunState({}), SilentProgress())
        return trained_tensors(job.model)

    # on the CPU graphs are recorded as on a GPU, but not translated to C++, which takes minutes
    backend = "eager" if device.type == "cpu" else ""
    with torch.compiler.set_stance("default", force_backend=backend or None):
        num_compiled = []
        for name, lengths in (("one", [16]), ("many", [5, 8, 11, 14])):
            torch._dynamo.reset()
            counters.clear()
            compiled = trained(name, lengths, compiled=True)
            num_compiled.append(counters["stats"]["unique_graphs"])
    assert num_compiled == [2, 2], "once for each tower"
    for name, tensor in trained("plain", lengths, compiled=False).items():
        torch.testing.assert_close(compiled[name], tensor, rtol=0, atol=2e-4)
