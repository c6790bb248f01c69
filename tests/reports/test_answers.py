"""Which captions are shown, and the frames beside them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from tests.support.pages import make_result
from vopcli.reports.answers import choose_different, choose_worst, frame_uris, show_queries


def test_captions_on_which_models_differ_most_come_first() -> None:
    first, second = make_result("P", 1, [1, 2, 50, 5, 5]), make_result("VoP", 1, [4, 1, 50, 6, 5])
    assert choose_different([first, second], 5) == [0, 1, 3, 2, 4]
    assert choose_different([first, second], 2) == [0, 1]


def test_the_worst_captions_are_those_of_the_highest_mean_rank() -> None:
    first, second = make_result("P", 1, [1, 9, 50, 5, 5]), make_result("VoP", 1, [40, 4, 1, 6, 6])
    assert choose_worst([first, second], 5) == [2, 0, 1, 3, 4], "products 50, 40, 36, 30, 30"
    assert choose_worst([first], 2) == [2, 1]


def test_a_video_is_asked_for_once() -> None:
    result = make_result("P", 1, [9, 8, 7])
    first, second, third = result.answers
    result = replace(result, answers=[first, replace(second, video=first.video), third])
    assert choose_worst([result], 3) == choose_different([result], 3) == [0, 2]


def test_each_model_shows_its_top_videos_with_their_middle_frames() -> None:
    results = [make_result("P", 1, [1.0]), make_result("VoP", 1, [2.0])]
    read: list[str] = []

    def frames_of(path: str) -> list[str]:
        read.append(path)
        return [f"{number} of {path}" for number in range(3)]

    [query] = show_queries(results, ["P", "VoP"], [0], frames_of)
    assert (query.caption, query.video) == ("caption 0", "0.mp4")
    assert list(query.frames) == ["0 of 0.mp4", "1 of 0.mp4", "2 of 0.mp4"]
    shown = [
        (ranking.model, ranking.rank, [(found.is_right, found.frame) for found in ranking.top])
        for ranking in query.rankings
    ]
    right, wrong = (True, "1 of 0.mp4"), (False, "1 of other.mp4")
    assert shown == [("P", 1.0, [right, wrong]), ("VoP", 2.0, [wrong, right])]
    assert sorted(read) == ["0.mp4", "other.mp4"], "each video is read once"


def decoded(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body, validate=True))))


def test_frames_are_spread_evenly_and_small() -> None:
    frames = np.stack([np.full((224, 224, 3), 20 * number, np.uint8) for number in range(12)])
    pictures = [decoded(uri) for uri in frame_uris(frames)]
    assert [picture.shape for picture in pictures] == [(112, 112, 3)] * 4
    assert [round(float(picture.mean()) / 20) for picture in pictures] == [1, 4, 7, 10]
    assert [decoded(uri).shape for uri in frame_uris(frames[:3, :48, :48])] == [(48, 48, 3)] * 3
    assert len(frame_uris(frames[:1])) == 1
