"""The list of tuning methods, with counts for any backbone."""

import dataclasses
from pathlib import Path

import pytest

from tests.support.clip import random_state, tiny_clip
from vopcli.config.choices import Variant
from vopcli.errors import FileError, UsageError
from vopcli.methods.counts import list_methods
from vopcli.weights.reader import Weights, write_safetensors

PUBLISHED = ("0", "119.8 M", "0.1 M", "0.7 M", "7.7 M", "2.0 M", "2.0 M", "0.1 M", "0.5 M", "14.3 M", "0.1 M")


def write_backbone(path: Path, **changes: int) -> str:
    shape = dataclasses.replace(tiny_clip(), **changes)
    write_safetensors(Weights(path, "tiny", "random", shape, random_state(shape)), path)
    return str(path)


# of the paper's settings for CLIP ViT-B; the sizes of patches and images only change the count of full
EXACT = (171_008, 655_360, 10_240_256, 1_982_976, 1_982_976, 122_880, 528_384, 14_257_152, 132_096)


@pytest.mark.parametrize(("weights", "num_all"), [("ViT-B/32", 151_277_313), ("ViT-B/16", 149_620_737)])
def test_every_method_is_listed_with_its_published_count(weights: str, num_all: int) -> None:
    found = list_methods(weights, num_frames=12)
    assert [item.variant for item in found] == [variant.value for variant in Variant]
    published = [item.published for item in found]
    assert tuple(published[:11]) == PUBLISHED
    assert published[11:13] == ["0.4 M", "14.1 M"]
    assert [item.num_trained for item in found[:13]] == [0, num_all, *EXACT, 402_432, 14_278_656]


def test_counts_follow_the_backbone_and_the_number_of_frames(tmp_path: Path) -> None:
    weights = write_backbone(tmp_path / "tiny.safetensors")
    counts = {item.variant: item.num_trained for item in list_methods(weights, num_frames=5)}
    shape = tiny_clip()
    text = shape.text_layers * 8 * shape.text_width
    assert counts["VoP"] == text + shape.vision_layers * 8 * shape.vision_width
    assert counts["P"] == text + shape.vision_layers * (4 + 5 * 4) * shape.vision_width


def test_backbones_that_cannot_be_counted(tmp_path: Path) -> None:
    weights = write_backbone(tmp_path / "one.safetensors", vision_layers=1)
    with pytest.raises(UsageError, match=r"one\.safetensors has a single layer"):
        list_methods(weights, num_frames=5)
    with pytest.raises(FileError, match=r"none\.safetensors"):
        list_methods(str(tmp_path / "none.safetensors"), num_frames=5)
