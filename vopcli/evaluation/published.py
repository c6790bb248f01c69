"""Results that the paper reports (VoP, section 4), for comparison.

All are by the authors, with CLIP ViT-B/32 and 12 frames per video; none was measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vopcli.config.choices import ContextModule, DatasetName, QueryUnit, Sides, Variant
from vopcli.config.schema import TuningConfig

PublishedMetrics = Mapping[str, Mapping[str, float]]  # by direction, then as in the JSON of `vop eval`

DIRECTIONS: Final = ("t2v", "v2t")
METRICS: Final = ("R@1", "R@5", "R@10", "MdR", "MnR")  # as tables print them
SENTENCE_METRICS: Final = ("R@1", "R@5", "R@10", "R@100", "SumR")  # of partially relevant retrieval
TABLE_METRICS: Final = {QueryUnit.CAPTIONS: METRICS, QueryUnit.SENTENCES: SENTENCE_METRICS}
SOURCE: Final = "VoP, CVPR 2023, ViT-B/32"

_NAMES: Final = ("R@1", "R@5", "R@10", "MnR", "MdR")


def _both(t2v: tuple[float, ...], v2t: tuple[float, ...] = ()) -> PublishedMetrics:
    rows = {"t2v": t2v, "v2t": v2t}
    return {direction: dict(zip(_NAMES, row, strict=False)) for direction, row in rows.items() if row}


RESULTS: Final[Mapping[tuple[DatasetName, Variant], PublishedMetrics]] = {
    (DatasetName.MSRVTT_9K, Variant.ZERO_SHOT): _both((31.5, 52.8, 63.6, 42.9, 5)),
    (DatasetName.MSRVTT_9K, Variant.FULL): _both((41.7, 69.2, 79.0, 16.5, 2), (42.5, 70.9, 81.4, 11.0, 2)),
    (DatasetName.MSRVTT_9K, Variant.BIAS): _both((39.7, 66.5, 77.3, 17.3, 2), (41.1, 68.4, 79.2, 13.6, 2)),
    (DatasetName.MSRVTT_9K, Variant.PROJ): _both((37.1, 63.0, 76.1, 20.5, 3), (37.2, 64.6, 75.9, 16.7, 3)),
    (DatasetName.MSRVTT_9K, Variant.PARTIAL): _both((39.8, 65.3, 75.9, 19.3, 2), (37.9, 66.1, 77.4, 15.5, 3)),
    (DatasetName.MSRVTT_9K, Variant.ADAPTER_ATTN): _both(
        (37.6, 63.2, 75.8, 18.7, 3), (39.6, 66.5, 76.8, 14.7, 2)
    ),
    (DatasetName.MSRVTT_9K, Variant.ADAPTER_FFN): _both(
        (38.2, 63.5, 76.4, 17.9, 3), (39.9, 66.8, 77.7, 14.2, 2)
    ),
    (DatasetName.MSRVTT_9K, Variant.VOP): _both((39.6, 66.7, 77.8, 17.2, 2), (42.1, 68.8, 80.7, 12.4, 2)),
    (DatasetName.MSRVTT_9K, Variant.P): _both((40.1, 65.7, 77.7, 16.9, 2), (42.5, 70.0, 79.9, 12.4, 2)),
    (DatasetName.MSRVTT_9K, Variant.C): _both((40.8, 68.1, 79.0, 15.8, 2), (42.3, 70.1, 81.1, 11.4, 2)),
    (DatasetName.MSRVTT_9K, Variant.F): _both((42.6, 68.4, 78.7, 15.8, 2), (42.4, 70.5, 81.0, 11.0, 2)),
    (DatasetName.MSRVTT_9K, Variant.P_F): _both((43.5, 69.3, 79.3, 14.8, 2), (43.6, 71.2, 81.2, 11.0, 2)),
    (DatasetName.MSRVTT_9K, Variant.C_F): _both((44.6, 69.9, 80.3, 16.3, 2), (44.5, 70.7, 80.6, 11.5, 2)),
    (DatasetName.MSRVTT_7K, Variant.C): _both((40.0,)),
    (DatasetName.DIDEMO, Variant.C): _both((40.0,)),
    (DatasetName.ACTIVITYNET, Variant.C): _both((32.6,)),
    (DatasetName.LSMDC, Variant.C): _both((20.4,)),
}

# The ablations: t2v R@1 of variant C with another reader of the frames; the BiLSTM's are above.
CONTEXT_MODULES: Final[Mapping[tuple[DatasetName, ContextModule], float]] = {
    (DatasetName.MSRVTT_9K, ContextModule.TRANSFORMER): 40.1,
    (DatasetName.MSRVTT_7K, ContextModule.TRANSFORMER): 39.5,
    (DatasetName.DIDEMO, ContextModule.TRANSFORMER): 40.4,
    (DatasetName.ACTIVITYNET, ContextModule.TRANSFORMER): 32.0,
    (DatasetName.LSMDC, ContextModule.TRANSFORMER): 20.3,
    (DatasetName.MSRVTT_9K, ContextModule.LSTM): 40.6,
    (DatasetName.MSRVTT_7K, ContextModule.LSTM): 39.5,
    (DatasetName.DIDEMO, ContextModule.LSTM): 38.6,
    (DatasetName.ACTIVITYNET, ContextModule.LSTM): 32.4,
    (DatasetName.LSMDC, ContextModule.LSTM): 19.6,
}

# The ablations: t2v R@1 of plain VoP with prompts in one tower only.
ONE_SIDE: Final[Mapping[tuple[DatasetName, Sides], float]] = {
    (DatasetName.MSRVTT_9K, Sides.TEXT): 36.5,
    (DatasetName.MSRVTT_9K, Sides.VISUAL): 36.3,
}


def comparable_dataset(dataset: DatasetName | None, queries: QueryUnit) -> DatasetName | None:
    """Return the benchmark whose published results are for these queries; None if there is none."""
    return None if queries is QueryUnit.SENTENCES else dataset


def published_metrics(dataset: DatasetName, tuning: TuningConfig) -> PublishedMetrics | None:
    """Return the results in the paper for these settings, on the test split; None if there are none."""
    from vopcli.methods.registry import METHODS  # here, because it loads NumPy and the command line must not

    default, variant = TuningConfig(), tuning.variant
    changed = {name for name in METHODS[variant].settings if getattr(tuning, name) != getattr(default, name)}
    if not changed:
        return RESULTS.get((dataset, variant))
    recall = None
    if changed == {"sides"} and variant is Variant.VOP:
        recall = ONE_SIDE.get((dataset, tuning.sides))
    elif changed == {"context_module"} and variant is Variant.C:
        recall = CONTEXT_MODULES.get((dataset, tuning.context_module))
    return None if recall is None else _both((recall,))


def format_published(metrics: PublishedMetrics) -> str:
    """Format published recalls on one line, marked as published."""
    parts = [
        f"{direction} {name} {value:.1f}"
        for direction, row in metrics.items()
        for name, value in row.items()
        if name.startswith("R@")
    ]
    return f"published ({SOURCE}, test split): {', '.join(parts)}"
