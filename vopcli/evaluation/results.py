"""Read the files that ``vop eval --json`` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from vopcli.errors import DataError, FileError

HINT: Final = "name files that `vop eval --json` wrote"


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the documents in a file, one for each model.

    Raises:
        FileError: it cannot be read.
        DataError: it holds something else.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FileError(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", hint=HINT) from error
    results = document if isinstance(document, list) else [document]
    if not results or not all(isinstance(result, dict) and "t2v" in result for result in results):
        raise DataError(f"{path} holds no results of `vop eval`", hint=HINT)
    return results
