"""The paper's figures as data: complete, within range, and given only for the paper's own settings."""

from statistics import mean

import pytest

from vopcli.config.choices import ContextModule, DatasetName, Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.evaluation.published import CONTEXT_MODULES, RESULTS, published_metrics
from vopcli.methods.registry import METHODS


def test_main_table_has_each_method_once_and_whole() -> None:
    table = {variant: row for (dataset, variant), row in RESULTS.items() if dataset is DatasetName.MSRVTT_9K}
    assert list(table) == [one for one in Variant if METHODS[one].published_millions is not None]
    for variant, row in table.items():
        assert list(row) == ["t2v"] if variant is Variant.ZERO_SHOT else ["t2v", "v2t"]
        for figures in row.values():
            assert list(figures) == ["R@1", "R@5", "R@10", "MnR", "MdR"]
            assert 0 < figures["R@1"] < figures["R@5"] < figures["R@10"] < 100
            assert 1 <= figures["MdR"] <= figures["MnR"]


def test_bilstm_is_the_best_reader_on_average_as_the_paper_concludes() -> None:
    averages = {
        module: mean(figure for (_, one), figure in CONTEXT_MODULES.items() if one is module)
        for module in (ContextModule.TRANSFORMER, ContextModule.LSTM)
    }
    chosen = mean(row["t2v"]["R@1"] for (_, variant), row in RESULTS.items() if variant is Variant.C)
    assert chosen == pytest.approx(34.76)
    assert averages[ContextModule.TRANSFORMER] == pytest.approx(34.46)
    assert averages[ContextModule.LSTM] == pytest.approx(34.14)


@pytest.mark.parametrize(
    ("dataset", "tuning", "expected"),
    [
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.P_F), 43.5),
        (DatasetName.DIDEMO, TuningConfig(Variant.C), 40.0),
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.FULL, prompt_length=4), 41.7),
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.C, split_layer=2), 40.8),
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.C_F, context_module=ContextModule.LSTM), None),
        (DatasetName.DIDEMO, TuningConfig(Variant.C, context_module=ContextModule.TRANSFORMER), 40.4),
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.VOP, sides=Sides.TEXT), 36.5),
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.P, sides=Sides.TEXT), None),
        (DatasetName.LSMDC, TuningConfig(Variant.VOP, sides=Sides.VISUAL), None),
        (DatasetName.MSRVTT_9K, TuningConfig(Variant.P_F, split_layer=6), None),
        (DatasetName.DIDEMO, TuningConfig(Variant.P_F), None),
        (DatasetName.MSVD, TuningConfig(Variant.C), None),
    ],
)
def test_settings_that_the_paper_did_not_try_have_no_metrics(
    dataset: DatasetName, tuning: TuningConfig, expected: float | None
) -> None:
    metrics = published_metrics(dataset, tuning)
    assert (metrics and metrics["t2v"]["R@1"]) == expected
