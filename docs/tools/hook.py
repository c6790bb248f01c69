"""Hook of MkDocs: put the generated parts into the pages."""

from __future__ import annotations

from typing import Any

from docs.tools.generate import fill


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the generated parts of a page."""
    return fill(markdown)
