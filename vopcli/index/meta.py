"""Metadata of an index: the model of its embeddings, and how the frames were sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vopcli.errors import DataError, format_value

DAMAGE_HINT: Final = (
    "`vop info FILE --verify` lists the damage; `vop encode --overwrite` creates the index again"
)


@dataclass(frozen=True)
class IndexMeta:
    """Metadata of an index.

    Attributes:
        weights: name or path of the backbone, as given by the user.
        fingerprint: SHA-256 of the backbone's tensors.
        recipe: sampling, size and resize rule of the frames, as JSON.
        embed_dim: E.
        adapter: settings and SHA-256 of the adapter; empty without one.
        pooling: how frame embeddings are combined into a video embedding.
    """

    weights: str
    fingerprint: str
    recipe: dict[str, Any]
    embed_dim: int
    adapter: dict[str, Any] = field(default_factory=dict)
    pooling: str = "mean"

    @property
    def variant(self) -> str:
        """Name of the variant; ``zero-shot`` without an adapter."""
        tuning = self.adapter.get("tuning")
        return str(tuning.get("variant")) if isinstance(tuning, dict) else "zero-shot"

    def attributes(self) -> dict[str, Any]:
        """Return the metadata as JSON values, as stored in the file."""
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
        """Parse the JSON values of `attributes`.

        Raises:
            DataError: a value is missing or of the wrong type, or the pooling is unknown.
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
                f"{path} is damaged: it does not name the model it was made with", hint=DAMAGE_HINT
            )
        meta = cls(*values)  # type: ignore[arg-type]
        if meta.pooling != "mean":
            raise DataError(
                f"{path} was made with the unknown pooling {format_value(meta.pooling)}", hint="update vop"
            )
        return meta
