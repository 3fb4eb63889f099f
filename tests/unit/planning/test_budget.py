"""What a run may cost, as a user says it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.errors import UserError
from apollo_ds.planning.budget import Budget


@pytest.mark.parametrize(
    ("word", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5h", 5400), ("3d", 259_200)]
)
def test_times(word: str, seconds: float) -> None:
    assert Budget.read(word) == Budget(seconds=seconds)


@given(st.integers(10, 26), st.integers(1, 9))
def test_operations(exponent: int, digit: int) -> None:
    assert Budget.read(f"{digit}e{exponent}") == Budget(flops=float(f"{digit}e{exponent}"))


@pytest.mark.parametrize(
    ("word", "tokens"), [("300M", 300_000_000), ("2e9", 2_000_000_000), ("1.5G", 1_500_000_000), ("50k", 50_000)]
)
def test_tokens(word: str, tokens: int) -> None:
    assert Budget.read_tokens(word) == Budget(tokens=tokens)


@pytest.mark.parametrize(
    "word",
    ["", " ", "10", "0m", "-10m", "10 m", "59s", "99999d", "nan", "inf", "1e999", "-3e18", "1e9", "m", "२h"],
)
def test_what_is_no_budget_is_told_of_with_an_example(word: str) -> None:
    with pytest.raises(UserError, match=r"^--budget: .*10m"):
        Budget.read(word)


@pytest.mark.parametrize("word", ["", "0", "-300M", "many", "nan", "inf", "1e999", "9999", "2h", "1e15", "2 e9"])
def test_what_is_no_count_of_tokens_is_told_of_with_an_example(word: str) -> None:
    with pytest.raises(UserError, match=r"^--tokens: .*300M or 2e9"):
        Budget.read_tokens(word)
