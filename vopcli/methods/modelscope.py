"""Read the prompts of ModelScope's VoP checkpoints (``VoP_msrvtt9k.pth``) as an adapter.

Some of their text prompts are a prefix, the others a suffix: ``configuration.json`` beside the file gives the
number; without it, half of them. A text is read at the index of its end token plus the number of prompts,
which is often a padding position. vop does the same, since the prompts were trained that way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation, Variant
from vopcli.config.schema import DEFAULT_NUM_FRAMES, TuningConfig
from vopcli.errors import DataError, FileError, UsageError, WeightsError
from vopcli.index.meta import IndexMeta
from vopcli.methods.adapter_file import ADAPTER_NAME, Adapter, is_adapter, read_adapter, write_adapter
from vopcli.methods.hub import repository_of
from vopcli.progress import Progress, SilentProgress
from vopcli.weights.formats import read_container
from vopcli.weights.hub import download_file
from vopcli.weights.model_config import read_json_object
from vopcli.weights.reader import Weights

VIDEO_PROMPTS: Final = "visual_prompt_learner.visual_prompts"  # (K, 1, P, D)
TEXT_PROMPTS: Final = "text_prompt_learner.text_prompts"  # (K, P, D): the prefix, then the suffix
_BACKBONE: Final = "clip."
_COPIES: Final = {"image_encoder.": "clip.visual.", "text_encoder.": "clip."}  # copies of the same tensors
_HINT: Final = "pass adapter.safetensors, a run folder, or a .pth file of ModelScope"
_TORCH_SUFFIXES: Final = (".pth", ".pt", ".bin", ".ckpt")
CONFIGURATION: Final = "configuration.json"
_RECIPE: Final = {"sampling": f"uniform:{DEFAULT_NUM_FRAMES}"}


def read_any_adapter(path: Path, progress: Progress | None = None) -> Adapter:
    """Read an adapter file, a run folder, a VoP checkpoint of ModelScope, or ``hf://owner/name`` on the hub.

    ``progress`` shows a download.

    Raises:
        FileError: the file cannot be read.
        WeightsError: the file is none of these, or damaged; or the adapter cannot be downloaded.
        UsageError: ``hf://`` is not followed by the name of a repository.
    """
    if repository := repository_of(path):
        return read_adapter(download_file(repository, [ADAPTER_NAME], progress or SilentProgress()))
    if path.is_dir() or path.suffix == ".safetensors" or is_adapter(path):
        return read_adapter(path)
    if not path.exists():
        raise WeightsError(f"{path} does not exist", hint=_HINT)
    if path.suffix not in _TORCH_SUFFIXES:
        raise WeightsError(f"{path} is not an adapter file", hint=_HINT)
    return read_modelscope(path)


def own_adapter(
    index: Path, meta: IndexMeta, progress: Progress, given: Path | None = None
) -> Adapter | None:
    """Read the adapter that an index was made with, from its recorded path; None if there was none.

    Args:
        index: the index, for messages.
        meta: its metadata.
        progress: shows a download.
        given: its path now; None: the recorded one.

    Raises:
        DataError: the file is missing, or has changed.
    """
    if not meta.adapter:
        return None
    path = given or Path(str(meta.adapter.get("path", "")))
    try:
        adapter = read_any_adapter(path, progress)
    except DataError as error:
        raise DataError(
            f"{index} was made with an adapter ({meta.variant}), which cannot be read: {error}",
            hint="name it with --adapter",
        ) from error
    if adapter.sha256 != meta.adapter.get("sha256"):
        raise DataError(
            f"{path} has changed, or is not the adapter that {index} was made with",
            hint="name the adapter it was made with, with --adapter; or use another index, or --overwrite",
        )
    return adapter


def is_modelscope(path: Path) -> bool:
    """Whether ``path`` is a VoP checkpoint of ModelScope."""
    if path.suffix != ".pth" or not path.is_file():
        return False
    try:
        return {VIDEO_PROMPTS, TEXT_PROMPTS} <= set(read_container(path).tensors)
    except (OSError, WeightsError):
        return False  # reading it as weights will report the problem


def read_modelscope(path: Path, *, text_suffix: int | None = None) -> Adapter:
    """Read the prompts of a checkpoint, with the fingerprint of its backbone.

    Args:
        path: the file.
        text_suffix: number of text prompts that are a suffix; None: as in ``configuration.json``, or half.

    Raises:
        FileError: the file cannot be read.
        WeightsError: the file is not a VoP checkpoint, or its copies of the backbone differ.
        UsageError: ``text_suffix`` does not fit the file.
    """
    try:
        tensors = read_container(path).tensors
    except OSError as error:
        raise FileError(path, error) from error
    if not {VIDEO_PROMPTS, TEXT_PROMPTS} <= set(tensors):
        raise WeightsError(
            f"{path} is neither an adapter of vop nor a VoP checkpoint of ModelScope",
            hint=_HINT,
        )
    _check_copies(path, tensors)
    backbone = {
        name.removeprefix(_BACKBONE): tensor for name, tensor in tensors.items() if name.startswith(_BACKBONE)
    }
    shapes = {name: tensor.shape for name, tensor in backbone.items()}
    shape = ClipShape.from_tensors(shapes, Activation.QUICK_GELU)
    video, text = tensors[VIDEO_PROMPTS], tensors[TEXT_PROMPTS]
    length = text.shape[1] if text.ndim == 3 else 0
    if video.shape != (shape.vision_layers, 1, length, shape.vision_width) or text.shape != (
        shape.text_layers,
        length,
        shape.text_width,
    ):
        raise WeightsError(
            f"{path} has prompts {video.shape} and {text.shape}, which are not those of plain VoP",
            hint="only ModelScope's basic VoP is supported",
        )
    suffix, assumption = _text_suffix(path, length, text_suffix)
    return Adapter(
        tuning=TuningConfig(variant=Variant.VOP, prompt_length=length, text_suffix=suffix),
        num_frames=DEFAULT_NUM_FRAMES,
        fingerprint=Weights(path, path.name, "ModelScope", shape, backbone).fingerprint(),
        recipe=dict(_RECIPE),
        tensors={
            "text_prompts.table": np.array(text, np.float32),
            "vision_prompts.sources.0.table": np.array(video[:, 0], np.float32),
        },
        source=str(path),
        assumption=assumption,
    )


def _text_suffix(path: Path, length: int, given: int | None) -> tuple[int, str]:
    """Return the number of ``length`` text prompts that are a suffix, and the assumption that it rests on.

    Raises:
        WeightsError: ``configuration.json`` does not fit the checkpoint.
        UsageError: the given number does not fit it.
    """
    file = path.parent / CONFIGURATION
    section = (read_json_object(file) or {}).get("hyperparam")
    parts = [section.get(f"tp_{side}_token_num") for side in ("prefix", "suffix")] if section else []
    if len(parts) == 2 and all(type(part) is int and part >= 0 for part in parts):
        if sum(parts) != length:
            raise WeightsError(
                f"{file} has {parts[0]} and {parts[1]} text prompts before and after the text, not {length}",
                hint=f"check that {CONFIGURATION} belongs to this checkpoint",
            )
        found, assumption = parts[1], ""
    else:
        half = length // 2
        found = half if given is None else given
        assumption = (
            f"of the {length} text prompts of {path}, {length - half} are assumed to be before the text and "
            f"{half} after it, since it has no {CONFIGURATION} beside it"
        )
    if given not in {None, found} or found > length:
        raise UsageError(f"{path} cannot have {given} of its {length} text prompts after the text")
    return found, assumption if given is None else ""


def convert_modelscope(
    source: Path, target: Path, progress: Progress, *, text_suffix: int | None = None
) -> dict[str, Any]:
    """Convert a checkpoint to an adapter file; return a description of the new file.

    Raises:
        FileError: a file cannot be read or written.
        WeightsError: the source is not a VoP checkpoint.
        UsageError: ``text_suffix`` does not fit the file.
    """
    adapter = read_modelscope(source, text_suffix=text_suffix)
    if adapter.assumption:
        progress.warn(f"{adapter.assumption}; if this is wrong, use --suffix-prompts")
    write_adapter(target, adapter)
    num_parameters = sum(tensor.size for tensor in adapter.tensors.values())
    return {
        "path": str(target),
        "kind": "vop-adapter",
        "variant": adapter.tuning.variant.value,
        "text_suffix": adapter.tuning.text_suffix,
        "num_parameters": num_parameters,
        "dtypes": {"float32": num_parameters},
        "backbone": adapter.fingerprint,
    }


def _check_copies(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    unknown = sorted(_unknown_tensors(tensors))
    if unknown:
        raise WeightsError(
            f"{path} has {len(unknown)} tensors that do not belong to a VoP checkpoint, such as {unknown[0]}",
            hint="only ModelScope's basic VoP is supported",
        )


def _unknown_tensors(tensors: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Yield the names of unknown tensors, and of copies that differ from the backbone."""
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in _COPIES if name.startswith(prefix)), None)
        if prefix is not None:
            original = tensors.get(_COPIES[prefix] + name.removeprefix(prefix))
            if original is None or not np.array_equal(original, tensor):
                yield f"{name} (differs from the backbone's)"
        elif not name.startswith(_BACKBONE) and name not in {VIDEO_PROMPTS, TEXT_PROMPTS}:
            yield name
