"""What an index says of itself: the model its embeddings come from, and how the frames were chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vopcli.errors import DataError

DAMAGE_HINT: Final = "`vop info FILE --verify` says more; make the index anew with `vop encode --overwrite`"


@dataclass(frozen=True)
class IndexMeta:
    """What an index says of itself: the model its embeddings come from, and how the frames were chosen.

    Attributes:
        weights: name or path of the backbone, as it was given.
        fingerprint: SHA-256 of the backbone's tensors.
        recipe: how frames were chosen and resized, as the frame store says it.
        embed_dim: E.
        adapter: what tuned the model, with its SHA-256; empty for the plain backbone.
        pooling: how frame embeddings become a video's.
    """

    weights: str
    fingerprint: str
    recipe: dict[str, Any]
    embed_dim: int
    adapter: dict[str, Any] = field(default_factory=dict)
    pooling: str = "mean"

    @property
    def variant(self) -> str:
        """The tuning method; ``zero-shot`` for the plain backbone."""
        tuning = self.adapter.get("tuning")
        return str(tuning.get("variant")) if isinstance(tuning, dict) else "zero-shot"

    def attributes(self) -> dict[str, Any]:
        """Return the JSON document that stands in the file."""
        return {
            "backbone": {"weights": self.weights, "fingerprint": self.fingerprint},
            "variant": self.variant,
            "adapter": self.adapter,
            "recipe": self.recipe,
            "embed_dim": self.embed_dim,
            "pooling": self.pooling,
        }

    @classmethod
    def parse(cls, path: Path, attributes: dict[str, Any]) -> IndexMeta:
        """Read the document of :meth:`attributes`.

        Raises:
            DataError: something is missing or of the wrong type, or the variant is not known.
        """
        backbone = attributes.get("backbone")
        backbone = backbone if isinstance(backbone, dict) else {}
        values = [
            backbone.get("weights"),
            backbone.get("fingerprint"),
            attributes.get("recipe"),
            attributes.get("embed_dim"),
            attributes.get("adapter"),
            attributes.get("pooling"),
        ]
        kinds = [str, str, dict, int, dict, str]
        if not all(isinstance(value, kind) for value, kind in zip(values, kinds, strict=True)):
            raise DataError(
                f"{path} is damaged: it does not say which model it was made with", hint=DAMAGE_HINT
            )
        meta = cls(*values)  # type: ignore[arg-type]
        if meta.pooling != "mean":
            raise DataError(f"{path} was made with pooling {meta.pooling!r}, unknown here", hint="update vop")
        return meta
