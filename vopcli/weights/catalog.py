"""Weights known by name: OpenAI's official files, and those of open_clip on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from vopcli.clip.shape import PERCEPTION_PREPROCESSING, ClipShape, Preprocessing
from vopcli.config.choices import Activation, Fit
from vopcli.errors import UsageError, WeightsError, format_name, format_value, nearest
from vopcli.files.atomic import hash_file

DEMO_NAME: Final = "demo-tiny"  # part of the package, and not in ENTRIES
BASE_URL: Final = "https://openaipublic.azureedge.net/clip/models"
RESNETS: Final = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")

# embed, resolution, patch, vision layers / width / heads, context, vocabulary, text layers / width / heads
_B32: Final = ClipShape(512, 224, 32, 12, 768, 12, 77, 49408, 12, 512, 8, Activation.QUICK_GELU)
_B16: Final = replace(_B32, patch_size=16)
_L14: Final = ClipShape(768, 224, 14, 24, 1024, 16, 77, 49408, 12, 768, 12, Activation.QUICK_GELU)
_H14: Final = ClipShape(1024, 224, 14, 32, 1280, 16, 77, 49408, 24, 1024, 16, Activation.QUICK_GELU)
_PE_S16: Final = ClipShape(
    *(512, 384, 16, 12, 384, 6, 32, 49408, 12, 512, 8, Activation.GELU, PERCEPTION_PREPROCESSING, True)
)
_PE_L14: Final = ClipShape(
    *(1024, 336, 14, 24, 1024, 16, 32, 49408, 24, 1024, 16, Activation.GELU, PERCEPTION_PREPROCESSING, True)
)
_PE_B16: Final = replace(
    _PE_L14, image_resolution=224, patch_size=16, vision_layers=12, vision_width=768, vision_heads=12
)
_NONCOMMERCIAL: Final = "CC-BY-NC-4.0"
_APPLE: Final = "Apple Sample Code"
_NOTICES: Final = {
    _NONCOMMERCIAL: "the licence forbids commercial use",
    _APPLE: "read the licence in its repository before commercial use",
}


@dataclass(frozen=True)
class CatalogEntry:
    """Weights known by name.

    Attributes:
        name: short name.
        file: name of OpenAI's file in the cache; "" for the hub, where open_clip's usual names are tried.
        sha256: of the file; empty if it is not known.
        num_bytes: of its tensors; the file is up to one percent larger; 0 for the hub.
        shape: sizes, activation and preprocessing.
        licence: of the weights.
        repository: on the Hugging Face hub; empty: OpenAI's server.
        pretrained: open_clip's name of model and weights, such as "ViT-B-32/laion2b_s34b_b79k".
        hub_copy: OpenAI's repository of the same weights on the hub, which model cards name.
    """

    name: str
    file: str
    sha256: str
    num_bytes: int
    shape: ClipShape = _B32
    licence: str = "MIT"
    repository: str = ""
    pretrained: str = ""
    hub_copy: str = ""

    @property
    def notice(self) -> str:
        """Restriction of the licence to show when the weights are fetched; empty without one."""
        return _NOTICES.get(self.licence, "")


def _hub(name: str, shape: ClipShape, pretrained: str, repository: str, licence: str = "MIT") -> CatalogEntry:
    return CatalogEntry(name, "", "", 0, shape, licence, repository, pretrained)


def _gelu(shape: ClipShape, **changes: object) -> ClipShape:
    return replace(shape, activation=Activation.GELU, **changes)  # type: ignore[arg-type]


_SQUASHED: Final = replace(_H14, preprocessing=Preprocessing(fit=Fit.SQUASH))
_CENTRED: Final = Preprocessing((0.5,) * 3, (0.5,) * 3)

ENTRIES: Final = (
    CatalogEntry(
        "ViT-B/32",
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        353_436_676,
        _B32,
        hub_copy="openai/clip-vit-base-patch32",
    ),
    CatalogEntry(
        "ViT-B/16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        350_349_316,
        _B16,
        hub_copy="openai/clip-vit-base-patch16",
    ),
    CatalogEntry(
        "ViT-L/14",
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        932_051_972,
        _L14,
        hub_copy="openai/clip-vit-large-patch14",
    ),
    CatalogEntry(
        "ViT-L/14@336px",
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        933_362_692,
        replace(_L14, image_resolution=336),
        hub_copy="openai/clip-vit-large-patch14-336",
    ),
    _hub(
        "PE-Core-T16-384",
        replace(_PE_S16, vision_width=192, vision_heads=3),
        "PE-Core-T-16-384/meta",
        "timm/PE-Core-T-16-384",
        "Apache-2.0",
    ),
    _hub("PE-Core-S16-384", _PE_S16, "PE-Core-S-16-384/meta", "timm/PE-Core-S-16-384", "Apache-2.0"),
    _hub("PE-Core-B16-224", _PE_B16, "PE-Core-B-16/meta", "timm/PE-Core-B-16", "Apache-2.0"),
    _hub("PE-Core-L14-336", _PE_L14, "PE-Core-L-14-336/meta", "timm/PE-Core-L-14-336", "Apache-2.0"),
    _hub("LAION2B-B/32", _gelu(_B32), "ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    _hub("LAION2B-B/16", _gelu(_B16), "ViT-B-16/laion2b_s34b_b88k", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"),
    _hub(
        "LAION2B-L/14",
        _gelu(_L14, preprocessing=_CENTRED),
        "ViT-L-14/laion2b_s32b_b82k",
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    ),
    _hub("LAION2B-H/14", _gelu(_H14), "ViT-H-14/laion2b_s32b_b79k", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    _hub(
        "DataComp-B/32",
        _gelu(_B32),
        "ViT-B-32/datacomp_xl_s13b_b90k",
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
    ),
    _hub(
        "DataComp-B/16",
        _gelu(_B16),
        "ViT-B-16/datacomp_xl_s13b_b90k",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
    ),
    _hub(
        "DataComp-L/14",
        _gelu(_L14),
        "ViT-L-14/datacomp_xl_s13b_b90k",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
    ),
    _hub("DFN2B-B/16", _B16, "ViT-B-16-quickgelu/dfn2b", "apple/DFN2B-CLIP-ViT-B-16", _APPLE),
    _hub("DFN2B-L/14", _L14, "ViT-L-14-quickgelu/dfn2b", "apple/DFN2B-CLIP-ViT-L-14", _APPLE),
    _hub("DFN2B-39B-L/14", _gelu(_L14), "ViT-L-14/dfn2b_s39b", "apple/DFN2B-CLIP-ViT-L-14-39B", _APPLE),
    _hub("DFN5B-H/14", _SQUASHED, "ViT-H-14-quickgelu/dfn5b", "apple/DFN5B-CLIP-ViT-H-14", _APPLE),
    _hub(
        "DFN5B-H/14@378px",
        replace(_SQUASHED, image_resolution=378),
        "ViT-H-14-378-quickgelu/dfn5b",
        "apple/DFN5B-CLIP-ViT-H-14-378",
        _APPLE,
    ),
    _hub(
        "MetaCLIP-B/32",
        _B32,
        "ViT-B-32-quickgelu/metaclip_fullcc",
        "timm/vit_base_patch32_clip_224.metaclip_2pt5b",
        _NONCOMMERCIAL,
    ),
    _hub(
        "MetaCLIP-B/16",
        _B16,
        "ViT-B-16-quickgelu/metaclip_fullcc",
        "timm/vit_base_patch16_clip_224.metaclip_2pt5b",
        _NONCOMMERCIAL,
    ),
    _hub(
        "MetaCLIP-L/14",
        _L14,
        "ViT-L-14-quickgelu/metaclip_fullcc",
        "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
        _NONCOMMERCIAL,
    ),
    _hub(
        "MetaCLIP-H/14",
        _H14,
        "ViT-H-14-quickgelu/metaclip_fullcc",
        "timm/vit_huge_patch14_clip_224.metaclip_2pt5b",
        _NONCOMMERCIAL,
    ),
)


def model_names() -> list[str]:
    """Return the names of the supported models."""
    return [entry.name for entry in ENTRIES]


def find_model(name: str) -> CatalogEntry | None:
    """Return the entry of a name; None if it is unknown.

    Case does not matter, and "-" may replace "/" and "@"; for the hub, open_clip's names, such as
    ``ViT-B-32/laion2b_s34b_b79k``, and that of the repository are accepted too.

    Raises:
        WeightsError: `name` is one of OpenAI's ResNets.
    """
    wanted = _normalise(name)
    if wanted in {_normalise(resnet) for resnet in RESNETS}:
        raise WeightsError(
            f"{format_name(name)} is a CLIP model with a ResNet, which is not supported",
            hint=f"use one with a vision transformer: {', '.join(model_names())}",
        )
    return next((entry for entry in ENTRIES if wanted in _spellings(entry)), None)


def _spellings(entry: CatalogEntry) -> set[str]:
    names = {entry.name, entry.pretrained, entry.repository, entry.pretrained.replace("-quickgelu", "")}
    return {_normalise(name) for name in names if name}


def refuse_unknown(name: str) -> NoReturn:
    """Refuse a name that no model has.

    Raises:
        UsageError: always.
    """
    known = [*model_names(), DEMO_NAME]
    hint = nearest(name, [*known, *(entry.pretrained for entry in ENTRIES if entry.pretrained)])
    hint = hint or "see `vop weights list`, or name a file"
    raise UsageError(f"no model is called {format_value(name)}", hint=hint)


def is_downloaded(entry: CatalogEntry, cache: Path) -> bool:
    """Return whether the file of weights is in the cache, or in that of the hub; it is not read."""
    if not entry.repository:
        return (cache / entry.file).is_file()
    from vopcli.weights.hub import cached_file

    return cached_file(entry) is not None


def is_verified(entry: CatalogEntry, path: Path) -> bool:
    """Return whether ``path`` is the official file; False if it is missing.

    A marker beside it, ``<file>.sha256``, keeps the digest, size and modification time of a file that was
    checked: while these are unchanged, the file is not hashed again.

    Raises:
        WeightsError: `path` is not the official file.
        OSError: `path` cannot be read.
    """
    if not path.is_file():
        return False
    status = path.stat()
    verdict = {"sha256": entry.sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    marker = path.with_name(f"{path.name}.sha256")
    with contextlib.suppress(OSError, ValueError):
        if json.loads(marker.read_text()) == verdict:
            return True
    digest = hash_file(path).hex()
    if digest != entry.sha256:
        raise WeightsError(
            f"{path} is not OpenAI's {entry.name}: its SHA-256 begins with {digest[:12]}",
            hint=f"remove it and run `vop weights get {entry.name}`; to use this very file, give its path",
        )
    with contextlib.suppress(OSError):  # without a marker the file is hashed each time
        marker.write_text(json.dumps(verdict))
    return True


def _normalise(name: str) -> str:
    plain = name.lower().removeprefix("hf-hub:")
    return re.sub(r"[/@_ ]", "-", plain).removesuffix("px")
