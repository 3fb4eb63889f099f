"""Which model a budget pays for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import parameters
from apollo_ds.planning.choose_model import SIZES, choose_size, shape_of, token_flops

families = st.sampled_from(sorted(FAMILIES))
vocabularies = st.integers(300, 130_000)
budgets = st.floats(1e10, 1e24)


@given(families, vocabularies, budgets, budgets)
def test_a_chosen_model_has_20_tokens_a_parameter_unless_it_is_the_smallest(
    family: str, vocab_size: int, flops: float, tokens: float
) -> None:
    size = choose_size(family, vocab_size, flops, tokens)
    shape = shape_of(size, family, vocab_size)
    wanted = 20 * parameters(shape, shape.num_layers)
    assert size == SIZES[0] or (wanted <= tokens and wanted * token_flops(shape, size.seq_len) <= flops)


@given(families, vocabularies, budgets, budgets, st.floats(1, 1e4))
def test_a_greater_budget_never_pays_for_a_smaller_model(
    family: str, vocab_size: int, flops: float, tokens: float, factor: float
) -> None:
    size = choose_size(family, vocab_size, flops, tokens)
    greater = choose_size(family, vocab_size, factor * flops, factor * tokens)
    assert SIZES.index(greater) >= SIZES.index(size)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_sizes_grow(family: str) -> None:
    counts = [parameters(shape_of(size, family, 8192), size.num_layers) for size in SIZES]
    assert counts == sorted(set(counts))


def test_the_head_counts() -> None:
    assert choose_size("llama", 50_000, 1e15, 1e12) != choose_size("llama", 1_000, 1e15, 1e12)
