"""The cost model against the real models and PyTorch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.models.families import PRESETS
from apollo_ds.models.flops import layer_flops, parameters, scored_positions, training_flops
from apollo_ds.models.pretraining import build
from apollo_ds.models.shape import ModelShape


def small(family: str, layers: int = 3) -> ModelShape:
    return ModelShape(
        family=family,
        num_layers=layers,
        hidden_size=64,
        num_heads=2,
        intermediate_size=160,
        vocab_size=311,
        max_position_embeddings=40,
    )


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("unique", [1, 3])
def test_parameters_of_a_built_model(family: str, unique: int) -> None:
    model = build(small(family), unique, seed=0)
    assert sum(p.numel() for p in model.parameters()) == parameters(small(family), unique)


@pytest.mark.parametrize(
    ("preset", "layers", "expected"),
    [
        ("bert-base", (1, 3, 6, 12), (31_547_706, 45_723_450, 66_987_066, 109_514_298)),
        ("bert-large", (1, 6, 24), (45_461_306, 108_442_426, 335_174_458)),
        ("gpt2-base", (0, 1, 3, 6, 12), (39_385_344, 46_473_216, 60_648_960, 81_912_576, 124_439_808)),
    ],
)
def test_parameters_of_the_presets(preset: str, layers: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert tuple(parameters(PRESETS[preset], count) for count in layers) == expected


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_training_flops_equal_the_counter_at_every_depth(family: str) -> None:
    shape, seq_len, samples = small(family), 32, 2
    model = build(shape, 3, seed=0)
    model.model.set_attn_implementation("eager")  # the counter does not see fused attention
    ids = torch.randint(0, shape.vocab_size, (samples, seq_len))
    scored = scored_positions(shape, seq_len)
    positions = torch.arange(scored).expand(samples, scored)
    for depth in range(1, 7):
        model.run_in_order(tuple(i % 3 for i in range(depth)))
        with FlopCounterMode(display=False) as counter:
            model(ids, positions, ids[:, :scored]).backward()
        assert counter.get_total_flops() == pytest.approx(training_flops(shape, depth, seq_len, samples), rel=1e-9)


def test_bert_base_layer_is_the_published_size() -> None:
    assert layer_flops(PRESETS["bert-base"], 512) / 512 == pytest.approx(15.73e6, rel=1e-3)
