"""Search by the best match: videos are ranked by their three successive frames most similar to the query.

The mean of a window of ten seconds hides a scene of three. Comparing all frames would read the whole index,
so the rows of highest mean cosine are chosen first, and their frames compared: every row of up to 2.7 hours
of video, the likely ones of more. A picture shows one moment, so single frames are compared with it.

Axes: Q queries, F frames of a row, E joint width.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vopcli.files.arrays import distinct
from vopcli.index.reader import VideoIndex
from vopcli.search.engine import Engine, Floats, Found, best_rows, dot_half_rows
from vopcli.search.ranges import MATCHED_FRAMES, best_matches

CANDIDATES: Final = 1000  # rows whose frames are compared


def search_matches(
    index: VideoIndex, nearest: Engine, queries: Floats, *, top: int, matched: int = MATCHED_FRAMES
) -> list[Found]:
    """Find the ``top`` rows of highest best match for each query, ordered by falling score, then path.

    The first k rows of a longer answer are the answer for k up to 1,000 rows; more bring more candidates.

    Args:
        index: the rows.
        nearest: ranks them by the cosine of their mean.
        queries: (Q, E) L2-normalised.
        top: maximum number of rows per query; above 1000, that many are compared.
        matched: number of successive frames that are to match.

    Raises:
        DataError: the index is damaged.
    """
    candidates = nearest(queries, top=max(top, CANDIDATES))
    answers = []
    for found, query in zip(candidates, queries, strict=True):
        rows = index.frames_of_rows(found.rows.tolist())
        frames = [part[:num_real] for part, _, num_real in rows]  # (F, E) each, without repeats
        counts = np.array([len(part) for part in frames])
        scores = np.empty(len(frames), np.float32)
        for count in distinct(counts).tolist():  # few: a short video may have fewer frames than others
            places = np.flatnonzero(counts == count)
            stacked = np.concatenate([frames[place] for place in places.tolist()])
            scores[places] = best_matches(dot_half_rows(stacked, query[None]).reshape(-1, count), matched)
        answers.append(best_rows(found.rows, scores, top, index.path_of))
    return answers
