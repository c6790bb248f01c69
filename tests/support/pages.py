"""Look at HTML pages: balanced tags, what they link to, what they show; and results to make pages of."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from vopcli.evaluation.results import EvalResult

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Outline(HTMLParser):
    """What a page holds; raises where a tag is not closed, or another is.

    Attributes:
        tags: every element with its attributes, in order.
        text: all that is shown, the style sheet not among it.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of all elements of one name."""
        return [attributes for name, attributes in self.tags if name == tag]


def make_document(variant: str, num_trained: int, ranks: list[float], **changes: Any) -> dict[str, Any]:
    """The JSON of `vop eval` for a model with these t2v ranks; where they are above 1, other.mp4 is first."""
    recalls = {
        f"R@{depth}": 100 * sum(rank <= depth for rank in ranks) / len(ranks) for depth in (1, 5, 10, 100)
    }
    direction = {
        **recalls,
        "SumR": sum(recalls.values()),
        "MdR": sorted(ranks)[len(ranks) // 2],
        "MdR_lower": sorted(ranks)[(len(ranks) - 1) // 2],
        "MnR": sum(ranks) / len(ranks),
        "num_queries": len(ranks),
        "num_ranks": len(ranks),
        "num_tied_queries": 0,
        "gallery_size": 50,
        "protocol": "each caption ranks the videos",
        "ties": "average",
        "scoring": "plain",
        "uses_other_queries": False,
        "queries": list(range(len(ranks))),
        "ranks": ranks,
    }
    answers = [
        {
            "caption": f"caption {i}",
            "video": f"{i}.mp4",
            "top": [f"{i}.mp4", "other.mp4"] if rank <= 1 else ["other.mp4", f"{i}.mp4"],
        }
        for i, rank in enumerate(ranks)
    ]
    return {
        "target": f"runs/{variant}-seed0" if num_trained else variant,
        "num_trained": num_trained,
        "variant": variant,
        "tuning": {"variant": variant},
        "dataset": None,
        "split": "test",
        "queries": "captions",
        "pooling": "mean",
        "weights": "ViT-B/32",
        "selected": {"rule": "the best epoch", "on": "the split val", "epoch": 2} if num_trained else None,
        "seed": 0 if num_trained else None,
        "training": {"epochs": 5, "lr": None} if num_trained else None,
        "trained_on": {"sampling": "uniform:12", "max_tokens": None, "data_sha256": "0" * 64}
        if num_trained
        else None,
        "max_tokens": 77,
        "num_cut_captions": 0,
        "num_duplicate_captions": 0,
        "data": make_report(len(ranks)),
        "published": None,
        "t2v": direction,
        "v2t": dict(direction),
        "ties": "average",
        "num_frames": 12,
        "answers": answers,
        **changes,
    }


def make_report(num_used: int, **changes: Any) -> dict[str, Any]:
    """The JSON of a report on a split whose videos are all found."""
    return {
        **dict.fromkeys(("listed", "with_captions", "with_file", "used", "captions"), num_used),
        "found_ratio": 1.0,
        **{name: [] for name in ("without_captions", "without_file", "skipped", "notes")},
        "other_size": "",
        "ranges": 0,
        **changes,
    }


def make_result(variant: str, num_trained: int, ranks: list[float], **changes: Any) -> EvalResult:
    """The result of `vop eval` that :func:`make_document` describes."""
    return EvalResult.from_json(make_document(variant, num_trained, ranks, **changes), source=Path("a.json"))
