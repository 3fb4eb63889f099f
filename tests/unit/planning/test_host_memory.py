"""What a rank takes of its node's own memory, in closed form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project import PROJECT

from apollo_ds.config.load import load_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.host_memory import growing_bytes, saving_bytes, starting_bytes
from apollo_ds.planning.traffic import growths

P, EMBEDDING, LAYER = 109_514_298, 30_522 * 768, 7_087_872
PATH = PROJECT / "launch" / "recipes" / "bert-base.yaml"


def bert_base(*words: str) -> Recipe:
    return load_recipe(PATH, words).settled(computes_bf16=True, world_size=8)


def test_a_start_holds_the_largest_piece_whatever_the_ranks() -> None:
    recipe = bert_base()
    for ranks in (1, 8, 64):
        for zero in range(4):
            assert starting_bytes(recipe, recipe.schedule().stages[-1], zero, ranks) == 4 * EMBEDDING
    wide = bert_base("model.hidden_size=6144", "model.intermediate_size=24576")
    layer = 12 * 6144**2 + 9 * 6144 + 24576
    assert starting_bytes(wide, wide.schedule().stages[-1], 3, 8) == 4 * layer


def test_what_is_offloaded_stays_there() -> None:
    optimizer = bert_base("deepspeed=ds_configs/zero2_offload.json")
    both = bert_base("deepspeed=ds_configs/zero3_offload.json")
    last = both.schedule().stages[-1]
    assert starting_bytes(optimizer, last, 2, 8) == pytest.approx(4 * EMBEDDING + 16 * P / 8)
    assert starting_bytes(both, last, 3, 8) == pytest.approx(4 * EMBEDDING + 18 * P / 8)
    assert starting_bytes(both, last, 0, 8) == 4 * EMBEDDING  # without ZeRO nothing is offloaded


def test_a_growth_holds_a_part_of_the_old_state_too() -> None:
    recipe = bert_base()
    stages, old = recipe.schedule().stages, P - 6 * LAYER
    for zero in range(4):
        assert growing_bytes(recipe, stages, 3, zero, 8) == pytest.approx(12 * old / 8 + 4 * EMBEDDING)


def test_a_checkpoint_is_written_from_a_copy_of_the_state() -> None:
    recipe = bert_base()
    stages = recipe.schedule().stages
    for zero in range(4):
        assert saving_bytes(recipe, stages, 3, zero, 8) == pytest.approx(12 * P / 8)
    offloaded = bert_base("deepspeed=ds_configs/zero3_offload.json")
    assert saving_bytes(offloaded, offloaded.schedule().stages, 3, 3, 8) == pytest.approx((12 + 18) * P / 8)


@given(method=st.sampled_from(["apollo", "mslt", "stackbert"]), ranks=st.integers(1, 512), zero=st.integers(0, 3))
def test_more_ranks_hold_less_each_and_together_as_much_more_as_a_piece(method: str, ranks: int, zero: int) -> None:
    recipe = bert_base(f"method={method}")
    stages = recipe.schedule().stages
    for number in growths(stages):
        few, many = (growing_bytes(recipe, stages, number, zero, count) for count in (ranks, ranks + 1))
        piece = starting_bytes(recipe, stages[number], zero, ranks)
        assert piece < many < few
        assert (ranks + 1) * (many - piece) == pytest.approx(ranks * (few - piece))
