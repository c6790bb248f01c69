"""OpenAI's official CLIP weights by name, with SHA-256 and size; the ResNets, which are not supported."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from vopcli.clip.shape import ClipShape
from vopcli.config.choices import Activation
from vopcli.errors import UsageError, WeightsError, format_name, format_value, nearest
from vopcli.files.atomic import hash_file

DEMO_NAME: Final = "demo-tiny"  # part of the package, and not in ENTRIES
BASE_URL: Final = "https://openaipublic.azureedge.net/clip/models"


@dataclass(frozen=True)
class CatalogEntry:
    """One official file; ``num_bytes`` counts its tensors, the file is up to one percent larger."""

    name: str
    file: str
    sha256: str
    num_bytes: int


ENTRIES: Final = (
    CatalogEntry(
        "ViT-B/32",
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        353_436_676,
    ),
    CatalogEntry(
        "ViT-B/16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        350_349_316,
    ),
    CatalogEntry(
        "ViT-L/14",
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        932_051_972,
    ),
    CatalogEntry(
        "ViT-L/14@336px",
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        933_362_692,
    ),
)
# embed, resolution, patch, vision layers / width / heads, context, vocabulary, text layers / width / heads
_SIZES: Final = {
    "ViT-B/32": (512, 224, 32, 12, 768, 12, 77, 49408, 12, 512, 8),
    "ViT-B/16": (512, 224, 16, 12, 768, 12, 77, 49408, 12, 512, 8),
    "ViT-L/14": (768, 224, 14, 24, 1024, 16, 77, 49408, 12, 768, 12),
    "ViT-L/14@336px": (768, 336, 14, 24, 1024, 16, 77, 49408, 12, 768, 12),
}
RESNETS: Final = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")


def model_names() -> list[str]:
    """Return the names of the supported models."""
    return [entry.name for entry in ENTRIES]


def find_model(name: str) -> CatalogEntry | None:
    """Return the entry of a name such as ``ViT-B/32`` or ``vit-b-32``; None if it is unknown.

    Raises:
        WeightsError: `name` is one of OpenAI's ResNets.
    """
    wanted = _normalise(name)
    if wanted in {_normalise(resnet) for resnet in RESNETS}:
        raise WeightsError(
            f"{format_name(name)} is a CLIP model with a ResNet, which is not supported",
            hint=f"use one with a vision transformer: {', '.join(model_names())}",
        )
    return next((entry for entry in ENTRIES if _normalise(entry.name) == wanted), None)


def refuse_unknown(name: str, *, also: str = "") -> NoReturn:
    """Refuse a name that no model has; ``also`` ends the list of names in the hint.

    Raises:
        UsageError: always.
    """
    known = [*model_names(), DEMO_NAME]
    hint = nearest(name, known) or f"use one of {', '.join(known)}{also}"
    raise UsageError(f"no model is called {format_value(name)}", hint=hint)


def openai_shape(entry: CatalogEntry) -> ClipShape:
    """Return the sizes of one of OpenAI's models, without its file."""
    return ClipShape(*_SIZES[entry.name], activation=Activation.QUICK_GELU)


def is_verified(entry: CatalogEntry, path: Path) -> bool:
    """Return whether ``path`` is the official file; False if it is missing.

    A marker beside it, ``<file>.sha256``, keeps the digest, size and modification time of a file that was
    checked: while these are unchanged, the file is not hashed again.

    Raises:
        WeightsError: `path` is another file than the official one.
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
    return name.lower().replace("/", "-").replace("@", "-").removesuffix("px")
