"""What ranks send, in closed form: figures worked out by hand, and what holds of all models and machines.

`tests/distributed/test_traffic.py` compares the same forms with a count.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project import PROJECT

from apollo_ds.config.load import load_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.traffic import (
    checkpoint_bytes,
    growth_bytes,
    growths,
    has_cohorts,
    resume_bytes,
    ring,
    spread_bytes,
    step_bytes,
)

P = 109_514_298
"""Parameters of BERT-base."""
PATH = PROJECT / "launch" / "recipes" / "bert-base.yaml"


def bert_base(*words: str, **zero: Any) -> Recipe:
    """768 samples a step, at most 48 at once; settled for many GPUs."""
    recipe = load_recipe(PATH, [*words, *(f"deepspeed.zero_optimization.{key}={value}" for key, value in zero.items())])
    return recipe.settled(computes_bf16=True, world_size=8)


def sent(recipe: Recipe, zero: int, ranks: int = 8) -> float:
    """In a step of the last stage."""
    return step_bytes(recipe, recipe.schedule().stages[-1], zero, ranks)


@pytest.mark.parametrize(("zero", "numbers"), [(0, 2), (1, 3), (2, 2 * 2 + 1), (3, 2 * 3)])
def test_a_step_of_two_micro_batches(zero: int, numbers: int) -> None:
    assert sent(bert_base("method=scratch"), zero) == pytest.approx(numbers * P * 2 * 7 / 8)  # 96 samples a rank
    in_fp32 = bert_base("method=scratch", "deepspeed=ds_configs/zero1_fp32.json")
    assert sent(in_fp32, zero) == pytest.approx(numbers * P * 4 * 7 / 8)


def test_checkpointed_layers_are_gathered_again_at_zero_3_alone() -> None:
    plain, checkpointed = (bert_base("method=scratch", f"activation_checkpointing={on}") for on in ("false", "true"))
    layers = 12 * 7_087_872
    assert sent(checkpointed, 3) - sent(plain, 3) == pytest.approx(2 * layers * 2 * 7 / 8)
    for zero in range(3):
        assert sent(checkpointed, zero) == sent(plain, zero)


@pytest.mark.parametrize(("zero", "numbers"), [(0, 2), (1, 2), (2, 3)])
def test_sums_for_their_owner_alone_are_half_as_much(zero: int, numbers: int) -> None:
    recipe = bert_base("method=scratch", use_multi_rank_bucket_allreduce="false")
    assert sent(recipe, zero) == pytest.approx(numbers * P * 2 * 7 / 8)


def test_frozen_weights_are_gathered_and_not_summed() -> None:
    recipe = bert_base("method=mslt")
    stage = recipe.schedule().stages[2]  # nine layers, of which the lowest six and the embeddings are frozen
    trained, layer, head = 3 * 7_087_872 + 622_650, 7_087_872, P - 12 * 7_087_872
    assert stage.frozen.layers == (0, 1, 2, 3, 4, 5)
    assert step_bytes(recipe, stage, 1, 8) == pytest.approx(3 * trained * 2 * 7 / 8, rel=1e-3)
    unused = (512 + 2 + 2) * 768  # of the embeddings, all but the head's matrix are not needed in the backward
    gathered = 2 * head - unused + (9 + 3) * layer
    assert step_bytes(recipe, stage, 3, 8) == pytest.approx((gathered + trained) * 2 * 7 / 8, rel=1e-4)


def test_a_growth_sums_all_of_the_old_state() -> None:
    recipe = bert_base()
    stages = recipe.schedule().stages
    assert growths(stages) == [1, 2, 3]
    old = 66_987_066
    for zero, spread in enumerate((P, 2 * P, 2 * P, P)):
        expected = (2 * 12 * old + 2 * spread) * 7 / 8
        assert growth_bytes(recipe, stages, 3, zero, 8) == pytest.approx(expected)


def test_cohorts_are_a_byte_more_from_their_growth_on() -> None:
    recipe = bert_base("method.moments=zero_new")
    stages = recipe.schedule().stages
    assert [has_cohorts(stages, number) for number in range(4)] == [False, True, True, True]
    assert [has_cohorts(bert_base().schedule().stages, number) for number in range(4)] == [False] * 4
    assert checkpoint_bytes(recipe, stages, 3) == 13 * P
    assert checkpoint_bytes(bert_base(), bert_base().schedule().stages, 3) == 12 * P


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("method=sprout",), True),  # silent layers have no moments to take over
        (("method=sprout", "method.new_layers=copy"), False),
        (("method=dpt",), False),  # copies of its one layer
        (("method=dpt", "method.moments=reset"), False),
        (("method=dpt", "method.moments=reset", "method.rewarm=new"), True),
        (("method=stackbert",), False),
        (("method=ligo",), False),
    ],
    ids=str,
)
def test_a_checkpoint_has_cohorts_where_ages_or_rates_differ(overrides: tuple[str, ...], expected: bool) -> None:
    stages = bert_base(*overrides).schedule().stages
    assert has_cohorts(stages, len(stages) - 1) is expected


def test_what_is_frozen_is_saved_without_moments() -> None:
    recipe = bert_base("method=mslt", "method.moments=map")
    stages = recipe.schedule().stages
    everything, trained = P - 3 * 7_087_872, 3 * 7_087_872 + 622_650
    assert checkpoint_bytes(recipe, stages, 2) == pytest.approx(13 * trained + 4 * (everything - trained), rel=1e-6)


def test_a_resume_at_zero_0_shares_the_reading() -> None:
    recipe = bert_base("method=scratch")
    stages = recipe.schedule().stages
    more = resume_bytes(recipe, stages, 0, 0, 8) - spread_bytes(recipe, stages[0], 0, 8)
    assert more == pytest.approx(2 * 12 * P * 7 / 8)
    for zero in (1, 2, 3):
        assert resume_bytes(recipe, stages, 0, zero, 8) == spread_bytes(recipe, stages[0], zero, 8)


def test_a_run_that_does_not_grow_has_no_growth() -> None:
    assert growths(bert_base("method=scratch").schedule().stages) == []


@given(size=st.floats(0, 1e15), ranks=st.integers(1, 10_000))
def test_a_ring_sends_less_than_the_tensor_and_more_with_more_ranks(size: float, ranks: int) -> None:
    assert 0 <= ring(size, ranks) <= size
    assert ring(size, ranks) <= ring(size, ranks + 1)
    assert ring(size, 1) == 0


RECIPES = {name: bert_base(f"method={name}") for name in ("apollo", "mslt", "scratch", "sprout", "stackbert")}


@given(
    name=st.sampled_from(sorted(RECIPES)),
    ranks=st.sampled_from([n for n in range(1, 769) if 768 % n == 0]),
    number=st.integers(0, 9),
)
def test_what_holds_of_every_stage(name: str, ranks: int, number: int) -> None:
    recipe = RECIPES[name]
    stages = recipe.schedule().stages
    number %= len(stages)
    in_a_step = [step_bytes(recipe, stages[number], zero, ranks) for zero in range(4)]
    assert in_a_step == sorted(in_a_step)
    assert (in_a_step[0] == 0) == (ranks == 1)
    if number in growths(stages):
        assert all(growth_bytes(recipe, stages, number, zero, ranks) >= 0 for zero in range(4))
