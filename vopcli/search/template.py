"""Lines with the values of a hit, for ``vop search --format`` and players."""

from __future__ import annotations

import string
from collections.abc import Collection
from pathlib import Path

from vopcli.errors import UsageError, format_value
from vopcli.search.hits import FIELDS, Hit


def check_template(template: str, name: str, *, allowed: Collection[str] = FIELDS) -> None:
    """Check that a template for `str.format` has known fields only, without access to their attributes.

    Args:
        template: text with fields such as ``{start}`` or ``{score:.2f}``.
        name: the option or setting, for messages.
        allowed: names of fields.

    Raises:
        UsageError: the template is malformed, or has another field.
    """
    hint = f"use {', '.join(f'{{{field}}}' for field in allowed)}; write {{{{ for a brace"
    try:
        fields = [part for part in string.Formatter().parse(template) if part[1] is not None]
        for _, field, form, conversion in fields:
            if field not in allowed or conversion or "{" in (form or ""):
                raise UsageError(f"{name} has the unknown field {{{field}}}", hint=hint)
        fill_template(template, Hit(1, 0.0, Path(), "", 0.0, 0.0, 0.0, 0.0))
    except ValueError as error:
        raise UsageError(f"{name} {format_value(template)} is malformed: {error}", hint=hint) from None


def fill_template(template: str, hit: Hit) -> str:
    """Return a checked template with the values of a hit: seconds have at most 3 decimals, scores 6."""
    values = {name: getattr(hit, name) for name in FIELDS}
    values |= {name: round(values[name], 3) for name in ("start", "end", "best")}
    return template.format(**values | {"score": round(hit.score, 6), "file": str(hit.file)})
