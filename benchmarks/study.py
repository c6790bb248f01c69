"""Write the table of a study: python benchmarks/study.py DIR, where `vop demo DIR --study` was run before."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from side_by_side import machine, markdown_table, write_results

from vopcli.datasets.demo.folder import STUDY
from vopcli.workflows.demo_study import COLUMNS, STUDY_NAME, StudyRow
from vopcli.workflows.demo_tune import DemoScore


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `vop demo --study`")
    path = parser.parse_args().demo / STUDY / STUDY_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        StudyRow(row["name"], row["num_trained"], [DemoScore(**score) for score in row["scores"]])
        for row in document["rows"]
    ]
    write_results(
        "study",
        f"# All variants on the demo set\n\n144 test videos; {document['epochs']} epochs, seeds "
        f"{', '.join(map(str, document['seeds']))}: mean and sample deviation in percent. Direction: share "
        "of the videos that fit their caption better than the same with the opposite movement; a guess is "
        f"right for 50. Products in {document['precision']}; {machine()}.\n\n"
        + markdown_table(COLUMNS, [row.cells() for row in rows]),
    )


if __name__ == "__main__":
    main()
