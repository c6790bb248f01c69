"""Records of the tuning methods: complete, consistent with the settings, and quick to load."""

import dataclasses
import importlib
import inspect
import subprocess
import sys

import pytest

from vopcli.config.choices import Variant
from vopcli.config.schema import TuningConfig
from vopcli.methods.registry import METHODS, Method

SETTINGS = {field.name for field in dataclasses.fields(TuningConfig)} - {"variant"}


def test_every_setting_is_used_by_a_method_and_every_used_one_exists() -> None:
    assert set().union(*(method.settings for method in METHODS.values())) == SETTINGS


def test_only_zero_shot_trains_nothing() -> None:
    assert [variant for variant, method in METHODS.items() if method.is_idle] == [Variant.ZERO_SHOT]


@pytest.mark.parametrize("variant", [one for one in Variant if METHODS[one].builder])
def test_builders_take_settings_backbone_and_frames(variant: Variant) -> None:
    module, _, function = METHODS[variant].builder.partition(":")
    builder = getattr(importlib.import_module(module), function)
    assert list(inspect.signature(builder).parameters) == ["tuning", "clip", "num_frames"]


@pytest.mark.parametrize(
    "fields", [{"lr": 1e-3}, {"lr": 0.0, "builder": "a:b"}, {"lr": 0.0, "selects": lambda name, shape: True}]
)
def test_a_rate_without_parameters_or_parameters_without_a_rate_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a learning rate if and only if it trains something"):
        Method("nothing", **fields)  # type: ignore[arg-type]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_variant_without_a_record_is_an_import_error() -> None:
    code = (
        "import vopcli.config.choices as choices\n"
        "from enum import Enum\n"
        "members = {one.name: one.value for one in choices.Variant}\n"
        "choices.Variant = Enum('Variant', members | {'NEW': 'new'}, type=str)\n"
        "import vopcli.config.schema\n"
        "import vopcli.methods.registry\n"
    )
    assert run_python(code.replace("| {'NEW': 'new'}", "")).returncode == 0
    done = run_python(code)
    assert done.returncode == 1
    assert "in the order of Variant; without a record: new\n" in done.stderr


def test_the_registry_loads_neither_torch_nor_numpy() -> None:
    done = run_python("import vopcli.methods.registry, sys; print({'torch', 'numpy'} & sys.modules.keys())")
    assert done.stdout == "set()\n"
