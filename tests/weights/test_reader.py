from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.weights_files import (
    TINY,
    as_numpy,
    make_tensors,
    write_hugging_face,
    write_open_clip,
    write_torchscript,
)
from vopcli.clip.shape import Preprocessing
from vopcli.config.choices import Activation, Fit, Resize
from vopcli.errors import FileError, UnknownActivationError, UsageError, VopError, WeightsError
from vopcli.progress import SilentProgress
from vopcli.weights.catalog import ENTRIES
from vopcli.weights.reader import Weights, open_weights, read_weights, resolve_weights, write_safetensors

MIX = make_tensors(openai_mix=True)
PLAIN = make_tensors()
GELU = replace(TINY, activation=Activation.GELU)


def assert_holds(weights: Weights, tensors: dict[str, torch.Tensor]) -> None:
    expected = as_numpy(tensors)
    assert weights.tensors.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(weights.tensors[name], array, strict=True, err_msg=name)


def save_legacy(tensors: dict[str, Any], path: Path) -> None:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


# Every way to store the same OpenAI model -> the kind that is told.
FORMATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "TorchScript": (lambda path: write_torchscript(path, MIX), "OpenAI (TorchScript)"),
    "zip": (lambda path: torch.save(MIX, path), "OpenAI (state dict)"),
    "legacy": (lambda path: save_legacy(MIX, path), "OpenAI (state dict)"),
    "parameters": (
        lambda path: torch.save({name: torch.nn.Parameter(tensor) for name, tensor in MIX.items()}, path),
        "OpenAI (state dict)",
    ),
    "checkpoint": (
        lambda path: torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in MIX.items()}}, path),
        "OpenAI (state dict)",
    ),
    "checkpoint, legacy": (
        lambda path: save_legacy({"state_dict": {f"module.{n}": t for n, t in MIX.items()}}, path),
        "OpenAI (state dict)",
    ),
    "safetensors": (lambda path: save_file(MIX, path), "OpenAI (safetensors)"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_model(tmp_path: Path, name: str) -> None:
    write, kind = FORMATS[name]
    write(tmp_path / "my-model.bin")
    weights = read_weights(tmp_path / "my-model.bin")
    assert (weights.kind, weights.name, weights.shape) == (kind, "my-model", TINY)
    assert_holds(weights, MIX)
    assert weights.num_parameters_by_dtype() == {
        "float16": sum(t.numel() for t in MIX.values() if t.dtype == torch.float16),
        "float32": sum(t.numel() for t in MIX.values() if t.dtype == torch.float32),
    }


def test_fingerprint_is_the_same_in_every_format_and_type_of_number(tmp_path: Path) -> None:
    fingerprints = set()
    for index, (write, _) in enumerate(FORMATS.values()):
        write(tmp_path / f"{index}.bin")
        fingerprints.add(read_weights(tmp_path / f"{index}.bin").fingerprint())
    wide = {name: tensor.float() for name, tensor in MIX.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    fingerprints.add(
        read_weights(tmp_path / "wide.safetensors", activation=Activation.QUICK_GELU).fingerprint()
    )
    assert len(fingerprints) == 1
    assert len(fingerprints.pop()) == 64


def test_fingerprint_tells_models_apart(tmp_path: Path) -> None:
    def fingerprint(tensors: dict[str, torch.Tensor], activation: Activation = Activation.GELU) -> str:
        save_file(tensors, tmp_path / "f.safetensors")
        return read_weights(tmp_path / "f.safetensors", activation=activation).fingerprint()

    last = {**PLAIN, "logit_scale": PLAIN["logit_scale"] + 1}
    swapped = {**PLAIN, "ln_final.bias": PLAIN["ln_final.weight"], "ln_final.weight": PLAIN["ln_final.bias"]}
    swapped = {name: tensor.clone() for name, tensor in swapped.items()}
    found = [
        fingerprint(PLAIN),
        fingerprint(last),
        fingerprint(swapped),
        fingerprint(PLAIN, Activation.QUICK_GELU),
    ]
    assert len(set(found)) == 4
    weights = read_weights(tmp_path / "f.safetensors", activation=Activation.GELU)
    assert weights.fingerprint() != replace(weights, shape=replace(GELU, vision_heads=6)).fingerprint()
    zeros = [{"a": np.zeros((2, 3))}, {"a": np.zeros((3, 2))}, {"b": np.zeros((2, 3))}]
    assert len({replace(weights, tensors=tensors).fingerprint() for tensors in zeros}) == 3


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    short = {name: tensor.bfloat16() for name, tensor in PLAIN.items()}
    save_file(short, tmp_path / "a.safetensors")
    torch.save(short, tmp_path / "b.pt")
    for name in ("a.safetensors", "b.pt"):
        assert_holds(read_weights(tmp_path / name, activation=Activation.GELU), short)


@pytest.mark.parametrize(
    "save",
    [{}, {"max_shard_size": "500KB"}],
    ids=["one file", "shards"],
)
@pytest.mark.parametrize(
    "shape", [TINY, GELU, replace(TINY, text_heads=8)], ids=["quick_gelu", "gelu", "heads"]
)
def test_hugging_face_folder(tmp_path: Path, save: dict[str, Any], shape: Any) -> None:
    theirs = as_numpy(write_hugging_face(tmp_path / "hf", shape, **save))
    weights = read_weights(tmp_path / "hf")
    assert (weights.shape, weights.kind) == (shape, "Hugging Face (safetensors)")
    np.testing.assert_array_equal(
        weights.tensors["visual.proj"], theirs["visual_projection.weight"].T, strict=True
    )
    layer = "vision_model.encoder.layers.1.self_attn"
    thirds = np.concatenate([theirs[f"{layer}.{part}_proj.bias"] for part in "qkv"])
    np.testing.assert_array_equal(
        weights.tensors["visual.transformer.resblocks.1.attn.in_proj_bias"], thirds, strict=True
    )
    if not save:
        assert read_weights(tmp_path / "hf" / "model.safetensors").fingerprint() == weights.fingerprint()


@pytest.mark.parametrize("is_sharded", [False, True])
def test_hugging_face_pickles_with_position_ids(tmp_path: Path, is_sharded: bool) -> None:
    tensors = write_hugging_face(tmp_path / "hf")
    expected = read_weights(tmp_path / "hf").fingerprint()
    (tmp_path / "hf" / "model.safetensors").unlink()
    tensors["text_model.embeddings.position_ids"] = torch.arange(11)[None]
    names = sorted(tensors)
    parts = {"pytorch_model.bin": names}
    if is_sharded:
        parts = {"pytorch_model-1.bin": names[:20], "pytorch_model-2.bin": names[20:]}
        weight_map = {name: part for part, inside in parts.items() for name in inside}
        (tmp_path / "hf" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for part, inside in parts.items():
        torch.save({name: tensors[name] for name in inside}, tmp_path / "hf" / part)
    assert read_weights(tmp_path / "hf").fingerprint() == expected


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_open_clip_folder(tmp_path: Path, quick_gelu: bool, pickled: bool) -> None:
    write_open_clip(tmp_path / "oc", PLAIN, quick_gelu=quick_gelu, pickled=pickled)
    weights = read_weights(tmp_path / "oc")
    assert weights.shape == (TINY if quick_gelu else GELU)
    assert weights.kind.startswith("open_clip")
    assert_holds(weights, PLAIN)


def test_activation_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    save_file(PLAIN, tmp_path / "f.safetensors")
    with pytest.raises(WeightsError, match=r"the activation of .* is unknown") as caught:
        read_weights(tmp_path / "f.safetensors")
    assert "vop weights convert FILE OUT.safetensors --activation quick_gelu" in caught.value.hint
    assert read_weights(tmp_path / "f.safetensors", activation=Activation.GELU).shape == GELU
    write_hugging_face(tmp_path / "hf")
    (tmp_path / "hf" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"the activation of .* is unknown"):
        read_weights(tmp_path / "hf")


@pytest.mark.parametrize("activation", Activation)
def test_a_fingerprint_tells_the_activation(tmp_path: Path, activation: Activation) -> None:
    save_file(PLAIN, tmp_path / "f.safetensors")
    path = str(tmp_path / "f.safetensors")
    fingerprint = read_weights(Path(path), activation=activation).fingerprint()
    found = open_weights(path, cache=tmp_path, progress=SilentProgress(), fingerprint=fingerprint)
    assert found.shape.activation is activation
    with pytest.raises(UnknownActivationError, match=r"the activation of .* is unknown"):
        open_weights(path, cache=tmp_path, progress=SilentProgress(), fingerprint="0" * 64)


@pytest.mark.parametrize("half", [False, True])
def test_an_official_file_in_the_cache_tells_the_activation(tmp_path: Path, half: bool) -> None:
    """A plain copy of its tensors is recognised, but not without the official file; nor another model."""
    official, entry = tmp_path / ENTRIES[0].file, ENTRIES[0]
    write_torchscript(official, MIX)
    copy = {name: tensor.half() if half else tensor.float() for name, tensor in MIX.items()}
    torch.save(copy, tmp_path / "copy.pt")
    torch.save(PLAIN | {"visual.class_embedding": torch.zeros(192)}, tmp_path / "other.pt")

    def read(name: str) -> Weights:
        return open_weights(str(tmp_path / name), cache=tmp_path, progress=SilentProgress())

    with pytest.raises(UnknownActivationError):  # the cached file is not the official one
        read("copy.pt")
    status = official.stat()
    marker = {"sha256": entry.sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    (tmp_path / f"{entry.file}.sha256").write_text(json.dumps(marker))  # as after a download
    assert read("copy.pt").shape == TINY
    with pytest.raises(UnknownActivationError):
        read("other.pt")


def test_activation_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "m.pt", MIX)
    with pytest.raises(UsageError, match="is quick_gelu, not gelu"):
        read_weights(tmp_path / "m.pt", activation=Activation.GELU)


def test_openai_numbers_tell_the_activation_of_an_fp32_state_dict(tmp_path: Path) -> None:
    numbers = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**PLAIN, **numbers}, tmp_path / "m.pt")
    weights = read_weights(tmp_path / "m.pt")
    assert weights.shape == TINY
    assert_holds(weights, PLAIN)


@pytest.mark.parametrize("heads", [None, 6])
def test_written_file_says_all_by_itself(tmp_path: Path, heads: int | None) -> None:
    write_open_clip(tmp_path / "oc", MIX, quick_gelu=False)
    weights = read_weights(tmp_path / "oc")
    if heads:
        weights = replace(weights, shape=replace(weights.shape, vision_heads=heads))
    write_safetensors(weights, tmp_path / "w.safetensors")
    again = read_weights(tmp_path / "w.safetensors")
    assert (again.shape, again.fingerprint()) == (weights.shape, weights.fingerprint())
    assert_holds(again, MIX)


def test_written_file_with_nonsense_metadata_is_refused(tmp_path: Path) -> None:
    for metadata in (
        {"activation": "relu", "vision_heads": "3"},
        {"activation": "gelu", "vision_heads": "x"},
        {"activation": "gelu", "vision_heads": "3", "text_heads": "2", "preprocessing": '{"fit": "crop"}'},
    ):
        save_file(PLAIN, tmp_path / "w.safetensors", metadata=metadata)
        with pytest.raises(WeightsError, match="its metadata on activation, heads and preprocessing is inv"):
            read_weights(tmp_path / "w.safetensors")


def test_missing_tensor_is_named_with_the_file(tmp_path: Path) -> None:
    save_file(
        {name: tensor for name, tensor in MIX.items() if name != "ln_final.bias"}, tmp_path / "m.safetensors"
    )
    with pytest.raises(
        WeightsError, match=r"m\.safetensors: the tensors do not fit .* 1 missing \(ln_final\.bias\)"
    ):
        read_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["visual.conv1.weight", "token_embedding.weight"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float) -> None:
    damaged = {**MIX, name: MIX[name].clone()}
    damaged[name].view(-1)[-1] = value
    save_file(damaged, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=f"{name} contains NaN or infinity"):
        read_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32])
def test_other_types_of_number_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({name: tensor.to(dtype) for name, tensor in PLAIN.items()}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"has dtype (float64|int32)"):
        read_weights(tmp_path / "m.safetensors", activation=Activation.GELU)


HF_ODD: list[tuple[str, str, Any, str]] = [
    ("", "model_type", "siglip", "model_type is 'siglip', not 'clip'"),
    ("text_config", "hidden_act", "gelu", "hidden_act is gelu and quick_gelu"),
    ("vision_config", "hidden_act", ["gelu"], "hidden_act is"),
    ("vision_config", "layer_norm_eps", 1e-6, "layer_norm_eps is 1e-06"),
    ("vision_config", "image_size", 336, "has 336 px, the tensors 24"),
    ("vision_config", "num_attention_heads", 0, "num_attention_heads is 0"),
    ("vision_config", "num_attention_heads", True, "num_attention_heads is True"),
    ("text_config", "num_attention_heads", 7, "width 128 does not divide into 7"),
    ("", "text_config", [], "text_config is not a JSON object"),
]


@pytest.mark.parametrize(("section", "key", "value", "message"), HF_ODD)
def test_hugging_face_settings_that_are_not_clip(
    tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    write_hugging_face(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (config[section] if section else config)[key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path)


def test_left_out_settings_have_the_value_of_their_library(tmp_path: Path) -> None:
    """What transformers leaves out of a file is what CLIPConfig has by default."""
    transformers = pytest.importorskip("transformers")
    shape = replace(
        TINY, vision_width=768, vision_heads=12, text_width=512, text_heads=8, image_resolution=24
    )
    write_hugging_face(tmp_path, shape)
    config = json.loads((tmp_path / "config.json").read_text())
    for section in ("text_config", "vision_config"):
        for key in ("hidden_act", "num_attention_heads"):
            config[section].pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.CLIPConfig.from_pretrained(tmp_path)
    ours = read_weights(tmp_path).shape
    assert ours.activation.value == theirs.text_config.hidden_act == theirs.vision_config.hidden_act
    assert ours.text_heads == theirs.text_config.num_attention_heads
    assert ours.vision_heads == theirs.vision_config.num_attention_heads


@pytest.mark.parametrize(
    ("file", "wrap"),
    [
        ("preprocessor_config.json", dict),
        ("processor_config.json", lambda pixels: {"image_processor": pixels}),
    ],
)
def test_hugging_face_pixels_of_another_scale(tmp_path: Path, file: str, wrap: Callable[..., Any]) -> None:
    write_hugging_face(tmp_path)
    pixels = {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (tmp_path / file).write_text(json.dumps(wrap(pixels)))
    assert read_weights(tmp_path).shape == TINY
    usual = read_weights(tmp_path)
    squash = {"size": {"height": 24, "width": 24}, "do_center_crop": False, "resample": 2}
    (tmp_path / file).write_text(json.dumps(wrap({**pixels, "image_std": [0.5, 0.4, 0.3], **squash})))
    found = read_weights(tmp_path)
    expected = Preprocessing(std=(0.5, 0.4, 0.3), fit=Fit.SQUASH, resize=Resize.BILINEAR)
    assert found.shape == replace(TINY, preprocessing=expected)
    assert found.fingerprint() != usual.fingerprint()
    write_safetensors(found, tmp_path / "converted.safetensors")
    again = read_weights(tmp_path / "converted.safetensors")
    assert (again.shape, again.fingerprint()) == (found.shape, found.fingerprint())
    (tmp_path / file).write_text(json.dumps(wrap({**pixels, "resample": 1})))
    with pytest.raises(WeightsError, match="resample is 1, which is not supported"):
        read_weights(tmp_path)


OPEN_CLIP_ODD: list[tuple[str, str, Any, str]] = [
    ("model_cfg", "custom_text", True, "custom_text is set, which differs"),
    ("vision_cfg", "timm_model_name", "vit_base", "timm_model_name is set, which differs"),
    ("text_cfg", "hf_model_name", "roberta-base", "hf_model_name is set, which differs"),
    ("vision_cfg", "mlp_ratio", 4.9, "mlp_ratio is 4.9"),
    ("vision_cfg", "image_size", 32, "has 32 px, the tensors 24"),
    ("preprocess_cfg", "mean", [0.5, 0.5], r"mean is \[0\.5, 0\.5\], which is not supported"),
    ("preprocess_cfg", "std", 0, "std is 0, which is not supported"),
    ("preprocess_cfg", "std", ["a"], r"std is \['a'\]"),
    ("preprocess_cfg", "resize_mode", "longest", "resize_mode is 'longest', which is not supported"),
    ("preprocess_cfg", "interpolation", "nearest", "interpolation is 'nearest', which is not supported"),
]


@pytest.mark.parametrize(("section", "key", "value", "message"), OPEN_CLIP_ODD)
def test_open_clip_settings_that_are_not_clip(
    tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    write_open_clip(tmp_path, PLAIN, quick_gelu=True)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    home = config if section in config else config["model_cfg"]
    home[section][key] = value
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path)


def test_open_clip_head_width(tmp_path: Path) -> None:
    write_open_clip(tmp_path, PLAIN, quick_gelu=True)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["head_width"] = 32
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert read_weights(tmp_path).shape == replace(TINY, vision_heads=6)


def test_names_and_paths_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str) -> Path:
        return resolve_weights(name, cache=tmp_path / "cache", progress=SilentProgress(), download=False)

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ViT-B-32").write_bytes(b"")
    (tmp_path / "m.pt").write_bytes(b"")
    assert resolve("m.pt") == Path("m.pt")
    assert resolve("~/m.pt") == tmp_path / "m.pt"
    assert resolve("./ViT-B-32") == Path("ViT-B-32")
    with pytest.raises(WeightsError, match=r"ViT-B/32 is not in "):
        resolve("ViT-B-32")
    with pytest.raises(WeightsError, match="RN50 is a CLIP model with a ResNet"):
        resolve("RN50")
    with pytest.raises(UsageError, match="no model is called 'ViT-H/14'") as caught:
        resolve("ViT-H/14")
    assert caught.value.hint == "did you mean ViT-L/14 or ViT-B/16?"
    with pytest.raises(UsageError) as caught:
        resolve("resnet")
    assert "`vop weights list`" in caught.value.hint
    for name in ("n.pt", "./ViT-B", f"{tmp_path}/ViT-B"):
        with pytest.raises(FileError, match="does not exist"):
            resolve(name)


def test_catalogue_name_is_kept_for_its_file(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "ViT-B-32.pt", MIX)
    assert read_weights(tmp_path / "ViT-B-32.pt").name == "ViT-B/32"


def test_search_needs_no_torch_to_read(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "m.pt", MIX)
    write_safetensors(read_weights(tmp_path / "m.pt"), tmp_path / "m.safetensors")
    program = (
        "import sys; from pathlib import Path; from vopcli.weights.reader import read_weights\n"
        "for path in sys.argv[1:]: print(read_weights(Path(path)).fingerprint())\n"
        "print(sorted({'torch', 'urllib.request', 'typer', 'h5py'} & set(sys.modules)))"
    )
    paths = [str(tmp_path / "m.pt"), str(tmp_path / "m.safetensors")]
    run = subprocess.run(
        [sys.executable, "-c", program, *paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    first, second, modules = run.stdout.split("\n")[:3]
    assert first == second
    assert modules == "[]"


SMALL = replace(
    TINY,
    vision_width=64,
    vision_heads=1,
    vision_layers=1,
    text_width=64,
    text_heads=1,
    image_resolution=16,
    vocab_size=9,
)


def _mutate(content: bytes, rng: random.Random) -> bytes:
    """Cut a file short, or change some bytes, mostly where it describes itself: near its ends."""
    if rng.random() < 0.15:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        edge = rng.randrange(min(6000, len(changed)))
        place = rng.choice([edge, len(changed) - 1 - edge, rng.randrange(len(changed))])
        changed[place] = rng.choice([0, 255, 127, rng.randrange(256)])
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TorchScript", "zip", "legacy", "safetensors", "config.json"])
def test_damage_anywhere_is_an_error_or_harmless(tmp_path: Path, name: str) -> None:
    tensors = make_tensors(SMALL, openai_mix=True)
    path = tmp_path / "m.pt"
    if name == "config.json":
        write_hugging_face(tmp_path, SMALL)
        path = tmp_path
    elif name == "TorchScript":
        write_torchscript(path, tensors)
    elif name == "safetensors":
        write_safetensors(Weights(path, "", "", SMALL, as_numpy(tensors)), path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=name == "zip")
    target = path / name if path.is_dir() else path
    content, rng, refused = target.read_bytes(), random.Random(name), 0  # noqa: S311
    for _ in range(300):
        target.write_bytes(_mutate(content, rng))
        try:
            read_weights(path)
        except WeightsError:
            refused += 1
    assert refused > 100
    target.write_bytes(content)
    assert read_weights(path).shape == SMALL


@pytest.mark.parametrize("name", ["x" * 300, "x" * 100_000, "a/" * 50_000, "\0", "~nobody-of-that-name/x"])
def test_names_that_no_file_can_have_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(VopError, match=r"has too long a name|no model is called|does not exist") as caught:
        resolve_weights(name, cache=tmp_path, progress=SilentProgress())
    assert len(str(caught.value)) < 200
