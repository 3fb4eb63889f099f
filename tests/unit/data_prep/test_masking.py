"""Which positions are masked: exactly so many, special tokens last, and words whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.masking import Masking, word_continuations

CLS, SEP, MASK = 1, 2, 3
SPECIAL = [0, CLS, SEP, MASK]
VOCAB_SIZE = 100
CONTINUES = list(range(60, VOCAB_SIZE))  # tokens from 60 on are `##...`
WHOLE_WORDS = Masking.of(VOCAB_SIZE, MASK, SPECIAL, CONTINUES)
TOKENS = Masking.of(VOCAB_SIZE, MASK, SPECIAL, None)


def words_of(tokens: list[int]) -> list[list[int]]:
    """Positions of each word; special tokens belong to none, and one that follows them starts a word."""
    words: list[list[int]] = []
    open_word = False
    for position, token in enumerate(tokens):
        if token in SPECIAL:
            open_word = False
        elif open_word and token in CONTINUES:
            words[-1].append(position)
        else:
            words.append([position])
            open_word = True
    return words


def expected(tokens: list[int], bits: NDArray[np.uint64], count: int) -> list[int]:
    """Devlin's rule, a word at a time and in a random order: those that still fit, and then those that did not."""
    chosen: list[int] = []
    passed_over: list[int] = []
    for word in sorted(words_of(tokens), key=lambda word: bits[word[0]] >> np.uint64(18)):
        (chosen if len(chosen) + len(word) <= count else passed_over).extend(word)
    return chosen + passed_over


def random_bits(seed: int, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(2**64, size=shape, dtype=np.uint64)


@settings(max_examples=100)
@given(
    samples=st.lists(
        st.lists(st.one_of(st.integers(10, 99), st.integers(40, 99), st.just(SEP)), min_size=24, max_size=24),
        min_size=1,
        max_size=5,
    ),
    count=st.integers(1, 23),
    seed=st.integers(0, 10**6),
)
def test_whole_words_are_chosen_by_the_rule(samples: list[list[int]], count: int, seed: int) -> None:
    tokens, bits = np.array(samples), random_bits(seed, (len(samples), 24))
    chosen = WHOLE_WORDS.choose(tokens, bits, count)
    assert chosen.shape == (len(samples), count)
    assert (np.diff(chosen, axis=1) > 0).all()
    for row, positions in enumerate(chosen.tolist()):
        plain = [position for position in positions if samples[row][position] not in SPECIAL]
        assert plain == sorted(expected(samples[row], bits[row], count)[:count])


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6))
def test_no_word_of_text_is_masked_in_part(seed: int) -> None:
    random = np.random.default_rng(seed)
    tokens = np.where(random.random((8, 128)) < 0.25, 70, 20)
    tokens[:, 0] = CLS
    tokens[:, 1] = 80  # the window starts within a word
    chosen = WHOLE_WORDS.choose(tokens, random_bits(seed, tokens.shape), 19)
    for row, positions in enumerate(chosen.tolist()):
        for word in words_of(tokens[row].tolist()):
            assert set(word) <= set(positions) or not set(word) & set(positions)


def test_words_of_any_length_are_chosen_about_as_often() -> None:
    """Not quite: it is longer ones that no longer fit."""
    tokens = np.tile([20, 20, 60, 20, 20, 60, 60, 20], (4000, 16))
    chosen = WHOLE_WORDS.choose(tokens, random_bits(0, tokens.shape), 19)
    share = np.bincount(chosen.ravel() % 8, minlength=8) / (4000 * 16)
    assert share == pytest.approx(np.full(8, 19 / 128), abs=0.025)


def test_tokens_are_chosen_one_by_one_and_special_ones_last() -> None:
    tokens = np.array([[CLS, 20, SEP, 70, SEP, 30, 31, SEP]] * 500)
    chosen = TOKENS.choose(tokens, random_bits(1, tokens.shape), 3)
    assert set(chosen.ravel().tolist()) == {1, 3, 5, 6}
    assert np.bincount(chosen.ravel(), minlength=8)[[1, 3, 5, 6]] == pytest.approx(375, abs=50)
    everything = TOKENS.choose(tokens, random_bits(1, tokens.shape), 5)
    assert all({1, 3, 5, 6} < set(row) for row in everything.tolist())


@pytest.mark.parametrize("masking", [TOKENS, WHOLE_WORDS])
def test_what_is_shown(masking: Masking) -> None:
    tokens = np.array([[CLS, 20, 30, SEP]])
    chosen = np.array([[1, 2, 3]])
    for chances, shown in (
        ([0.0, 0.79, 0.5], [CLS, MASK, MASK, SEP]),
        ([0.8, 0.8999999, 0.85], [CLS, 0, 99, SEP]),
        ([0.9, 0.99, 0.95], [CLS, 20, 30, SEP]),
    ):
        changed = tokens.copy()
        labels = masking.show(changed, chosen, np.array([chances]), ignored=-100)
        assert labels.tolist() == [[20, 30, -100]]
        assert changed.tolist() == [shown]


def test_continuations_are_those_that_wordpiece_marks(tokenizers: dict[str, Path]) -> None:
    path = tokenizers["wordpiece"] / "tokenizer.json"
    vocabulary = json.loads(path.read_text())["model"]["vocab"]
    continuations = word_continuations(path)
    assert continuations is not None
    assert {i: token for token, i in vocabulary.items() if i in continuations} == {
        i: token for token, i in vocabulary.items() if token.startswith("##")
    }
    assert 50 < len(continuations) < len(vocabulary)
    assert word_continuations(tokenizers["bpe"] / "tokenizer.json") is None
