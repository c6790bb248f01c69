"""``vop rescore``: measure saved scores as they are, and by rules that look at more than one query."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from vopcli.config.choices import TieRule
from vopcli.errors import DataError
from vopcli.evaluation.metrics import RetrievalMetrics, measure_similarity
from vopcli.evaluation.rescoring import choose_beta, measure_dual_softmax, measure_qb_norm
from vopcli.evaluation.score_file import Similarities, read_similarities, verify
from vopcli.search.qb_norm import QB_NORM, build_query_bank
from vopcli.search.similarity import NotFiniteError

_HINT: Final = "make it anew with `vop eval --save-sims`"


def rescore(path: Path, *, ties: TieRule = TieRule.AVERAGE, top: int = 1) -> dict[str, Any]:
    """Measure saved scores as they are, after dual softmax, and after QB-Norm where there is a bank.

    Args:
        path: a file of ``vop eval --save-sims``.
        ties: the rule for equal scores.
        top: how many videos of each bank caption open QB-Norm's gate.

    Returns:
        A JSON document; ``scorings`` has the raw scores first.

    Raises:
        DataError: the file is missing or damaged, or a score is no number.
    """
    if problems := verify(path):
        raise DataError(f"{path} is damaged: {'; '.join(problems)}", hint=_HINT)
    saved = read_similarities(path)
    try:
        plain = measure_similarity(saved.similarity, saved.owner, ties=ties)
        scale = saved.document["logit_scale"]
        dual = measure_dual_softmax(saved.similarity, saved.owner, logit_scale=scale, ties=ties)
        scorings = [_scoring(plain), {**_scoring(dual), "logit_scale": scale}]
        if saved.has_bank:
            scorings.append(_qb_norm(saved, ties, top))
    except NotFiniteError as error:
        raise DataError(f"{path} is damaged: {error}", hint=_HINT) from error
    left_out = ("t2v", "v2t", "ties", "answers", "logit_scale")
    about = {name: value for name, value in saved.document.items() if name not in left_out}
    return {
        "file": str(path),
        **about,
        "num_bank": saved.bank.shape[0],
        "ties": ties.value,
        "scorings": scorings,
    }


def _scoring(metrics: RetrievalMetrics) -> dict[str, Any]:
    document = metrics.to_dict()
    return {
        "scoring": metrics.t2v.scoring,
        "uses_other_queries": metrics.t2v.uses_other_queries,
        "uses_bank": False,
        "t2v": document["t2v"],
        "v2t": document["v2t"],
    }


def _qb_norm(saved: Similarities, ties: TieRule, top: int) -> dict[str, Any]:
    choice = choose_beta(saved.val_similarity, saved.val_owner, saved.val_bank, top=top, ties=ties)
    bank = build_query_bank(saved.bank, beta=choice.beta, top=top)
    metrics = measure_qb_norm(saved.similarity, saved.owner, bank, ties=ties)
    return {
        "scoring": QB_NORM,
        "uses_other_queries": False,
        "uses_bank": True,
        "t2v": metrics.to_dict(),
        "v2t": None,
        "beta": choice.beta,
        "top": top,
        "num_bank": bank.num_captions,
        "num_activated": int(bank.is_activated.sum()),
        "beta_tried_on_val": {f"{beta:g}": tried.recall_percent[1] for beta, tried in choice.tried.items()},
    }
