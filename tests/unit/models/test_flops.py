"""The cost model against the real models and PyTorch's own counter."""

import pytest
from families import batch_of, shape_of
from recipes import tiny
from small_models import build
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.models.families import FAMILIES, PRESETS, family_of
from apollo_ds.models.family import Family
from apollo_ds.models.flops import matrix_parameters, parameters, parameters_between, training_flops
from apollo_ds.models.pretraining import skeleton


@pytest.mark.parametrize(
    ("preset", "layers", "expected"),
    [
        ("bert-base", (0, 1, 3, 6, 12), (24_459_834, 31_547_706, 45_723_450, 66_987_066, 109_514_298)),
        ("bert-large", (1, 6, 24), (45_461_306, 108_442_426, 335_174_458)),
        ("gpt2-base", (0, 1, 3, 6, 12), (39_385_344, 46_473_216, 60_648_960, 81_912_576, 124_439_808)),
    ],
)
def test_parameters_of_the_presets(preset: str, layers: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert tuple(parameters(PRESETS[preset], count) for count in layers) == expected


@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_of_the_layers_are_counted(family: str, rank: int | None) -> None:
    shape = tiny(family, "unused").model
    model = skeleton(shape, 3)
    if rank:
        model.factorise_feed_forward(rank)
    matrices = [p.numel() for p in model.layers.parameters() if p.dim() > 1]
    assert matrix_parameters(shape, 3, rank) == sum(matrices)


@pytest.mark.parametrize("is_tied", [True, False])
def test_parameters_between_embeddings_and_logits(is_tied: bool) -> None:
    assert parameters_between(PRESETS["gpt2-base"]) == 12 * 7_087_872 + 2 * 768  # and the last normalisation
    llama = FAMILIES["llama"]
    sizes = {"hidden_size": 8, "num_heads": 2, "intermediate_size": 12, "vocab_size": 31}
    of = llama.shape_class(family="llama", num_layers=3, tie_word_embeddings=is_tied, **sizes)
    assert parameters_between(of) == 3 * llama.layer_parameters(of) + 8


def test_bert_base_layer_is_the_published_size() -> None:
    shape = PRESETS["bert-base"]
    assert family_of(shape).layer_flops(shape, 512) / 512 == pytest.approx(15.73e6, rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_operations_without_layers_are_those_of_the_head(family: Family) -> None:
    of = shape_of(family, 6, width=4, vocab_size=311, max_position_embeddings=32)
    model = build(of, 0, seed=0)
    model.checkpoint_activations()
    model.run_in_order(())
    with FlopCounterMode(display=False) as counter:
        model(*batch_of(of, family.scored_positions(32))).backward()
    assert counter.get_total_flops() == training_flops(of, 0, 32, 3) == 3 * 3 * family.head_flops(of, 32)
    assert all(weight.grad is not None for weight in model.parameters())
