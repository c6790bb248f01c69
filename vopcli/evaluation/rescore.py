"""``vop rescore``: metrics of saved scores, plain and after hubness correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vopcli.config.choices import QueryUnit, TieRule
from vopcli.errors import DataError
from vopcli.evaluation.metrics import DirectionMetrics, measure_similarity
from vopcli.evaluation.rescoring import choose_beta, measure_dual_softmax, measure_qb_norm
from vopcli.evaluation.score_file import Similarities, read_similarities
from vopcli.search.qb_norm import QB_NORM, build_query_bank
from vopcli.search.similarity import NotFiniteError


@dataclass(frozen=True)
class Scoring:
    """Metrics of one scoring rule.

    Attributes:
        name: of the rule, such as "plain".
        t2v: text to video.
        v2t: video to text; None for QB-Norm, which is defined for t2v only.
        uses_bank: whether training captions were used.
        details: parameters of the rule, as JSON values.
    """

    name: str
    t2v: DirectionMetrics
    v2t: DirectionMetrics | None
    uses_bank: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {
            "scoring": self.name,
            "uses_other_queries": self.t2v.uses_other_queries,
            "uses_bank": self.uses_bank,
            "t2v": self.t2v.to_dict(),
            "v2t": self.v2t.to_dict() if self.v2t else None,
            **self.details,
        }


@dataclass(frozen=True)
class RescoreResult:
    """Saved scores, measured by several rules.

    Attributes:
        file: with the saved scores.
        about: fields of the result of `vop eval` that describe the model and the data.
        num_bank: captions in QB-Norm's bank; 0: there is none.
        ties: the rule for equal scores.
        scorings: the raw scores first.
    """

    file: Path
    about: Mapping[str, Any]
    num_bank: int
    ties: TieRule
    scorings: Sequence[Scoring]

    @property
    def queries(self) -> QueryUnit:
        """The unit of the queries; files of earlier versions have captions."""
        return QueryUnit(self.about.get("queries", QueryUnit.CAPTIONS))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of ``vop rescore --json``."""
        return {
            "file": str(self.file),
            **self.about,
            "num_bank": self.num_bank,
            "ties": self.ties.value,
            "scorings": [scoring.to_json() for scoring in self.scorings],
        }


def rescore(path: Path, *, ties: TieRule = TieRule.AVERAGE, top: int = 1) -> RescoreResult:
    """Measure saved scores as they are, after dual softmax, and after QB-Norm if the file has a bank.

    Args:
        path: a file of ``vop eval --save-sims``.
        ties: the rule for equal scores.
        top: QB-Norm activates the ``top`` best videos of each bank caption, see `build_query_bank`.

    Raises:
        DataError: `path` is missing or damaged, or a score is not finite.
    """
    saved = read_similarities(path)
    try:
        plain = measure_similarity(saved.similarity, saved.owner, ties=ties)
        scale = saved.document["logit_scale"]
        dual = measure_dual_softmax(saved.similarity, saved.owner, logit_scale=scale, ties=ties)
        scorings = [
            Scoring(plain.t2v.scoring, plain.t2v, plain.v2t),
            Scoring(dual.t2v.scoring, dual.t2v, dual.v2t, details={"logit_scale": scale}),
        ]
        if saved.has_bank:
            scorings.append(_qb_norm(saved, ties, top))
    except NotFiniteError as error:
        raise DataError(
            f"{path} is damaged: {error}", hint="write it again with `vop eval --save-sims`"
        ) from error
    left_out = ("t2v", "v2t", "ties", "answers", "logit_scale")
    about = {name: value for name, value in saved.document.items() if name not in left_out}
    return RescoreResult(path, about, saved.bank.shape[0], ties, scorings)


def _qb_norm(saved: Similarities, ties: TieRule, top: int) -> Scoring:
    choice = choose_beta(saved.val_similarity, saved.val_owner, saved.val_bank, top=top, ties=ties)
    bank = build_query_bank(saved.bank, beta=choice.beta, top=top)
    metrics = measure_qb_norm(saved.similarity, saved.owner, bank, ties=ties)
    details = {
        "beta": choice.beta,
        "top": top,
        "num_bank": bank.num_captions,
        "num_activated": int(bank.is_activated.sum()),
        "beta_tried_on_val": {f"{beta:g}": tried.recall_percent[1] for beta, tried in choice.tried.items()},
    }
    return Scoring(QB_NORM, metrics, None, uses_bank=True, details=details)
