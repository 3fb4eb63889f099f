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
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-3.2-1b": 1_235_814_400,
    "qwen3-0.6b": 596_049_920,
    "modernbert-base": 149_655_232,
    "modernbert-large": 395_881_664,
    "pythia-160m": 162_322_944,
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
