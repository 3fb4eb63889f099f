"""Presets have the sizes that were published."""

import pytest

from apollo_ds.models.families import PRESETS
from apollo_ds.models.flops import parameters
from apollo_ds.models.pretraining import skeleton
from apollo_ds.models.shape import why_not_grown

PUBLISHED = {
    "bert-small": 28_795_194,
    "bert-base": 109_514_298,
    "bert-large": 335_174_458,
    "gpt2-base": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
}


@pytest.mark.parametrize("preset", ["bert-small-12", "gpt2-small-12"])
def test_apollo_s_small_models_can_grow_into_its_large_ones(preset: str) -> None:
    of, base = PRESETS[preset], PRESETS[f"{preset.partition('-')[0]}-base"]
    assert (of.num_layers, of.hidden_size, of.num_heads) == (12, 512, 8)
    assert why_not_grown(of, base) is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_its_published_size(preset: str) -> None:
    of = PRESETS[preset]
    total = sum(parameter.numel() for parameter in skeleton(of, of.num_layers).parameters())
    assert total == parameters(of, of.num_layers) == PUBLISHED.get(preset, total)
