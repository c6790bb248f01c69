"""Which captions are shown, and the frames beside them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from tests.support.pages import make_result
from vopcli.reports.answers import choose_queries, frame_uris, show_queries


def test_captions_on_which_models_differ_most_come_first() -> None:
    first, second = make_result("P", 1, [1, 2, 50, 5, 5]), make_result("VoP", 1, [4, 1, 50, 6, 5])
    assert choose_queries([first, second], 5) == [0, 1, 3, 2, 4]
    assert choose_queries([first, second], 2) == [0, 1]
    assert choose_queries([first], 3) == [2, 3, 4], "a model alone: what it ranks worst"


def test_a_video_is_asked_for_once() -> None:
    result = make_result("P", 1, [9, 8, 7])
    first, second, third = result.answers
    result = replace(result, answers=[first, replace(second, video=first.video), third])
    assert choose_queries([result], 3) == [0, 2]


def test_the_right_video_is_shown_even_if_none_found_it() -> None:
    results = [make_result("P", 1, [3.0]), make_result("VoP", 1, [2.0])]
    [query] = show_queries(results, ["P", "VoP"], [0], lambda path: [f"data:{path}"])
    assert query.caption == "caption 0"
    assert [(found.video, found.is_right, list(found.finders), found.frames) for found in query.found] == [
        ("0.mp4", True, [], ["data:0.mp4"]),
        ("other.mp4", False, ["P (rank 3)", "VoP (rank 2)"], ["data:other.mp4"]),
    ]


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
