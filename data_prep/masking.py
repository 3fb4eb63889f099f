"""BERT's masking (Devlin et al. 2019): which positions of a sample the model predicts, and what it sees there instead.

The caller gives the random numbers. Training computes them from its counters.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

MASKED_FRACTION = 0.15
HIDDEN, REPLACED = 0.8, 0.1  # the other chosen tokens are shown as they are

_LAST = np.uint64(1 << 63)
_PASSED_OVER = np.uint64(1 << 62)
_COLUMN_BITS = np.uint64(16)


@dataclass(frozen=True)
class Masking:
    """The masking rule for one vocabulary.

    `special`, shape (vocab_size,), marks ids that are not predicted. `continues`, of the same shape, marks ids that
    continue a word, so that whole words can be chosen. If it is None, tokens are chosen one by one.
    """

    mask_token: int
    special: NDArray[np.bool_]
    continues: NDArray[np.bool_] | None

    @classmethod
    def of(cls, vocab_size: int, mask_token: int, special: list[int], continues: list[int] | None) -> Self:
        """Make the rule from lists of ids. If `continues` is None, tokens are chosen one by one."""
        return cls(
            mask_token, _table(vocab_size, special), None if continues is None else _table(vocab_size, continues)
        )

    def choose(self, tokens: NDArray[np.int64], bits: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
        """Choose the positions to predict, exactly `count` in each sample.

        A special token is chosen only if nothing else is left. Whole words are taken in a random order. A word that no
        longer fits is passed over for the next one that does. A word is cut only if no word fits.

        Args:
            tokens: shape (samples, length), of at most 65,536 tokens.
            bits: 64 random bits for each token, of the same shape.
            count: how many positions to choose in each sample; fewer than its tokens.
        Returns:
            Positions in increasing order, shape (samples, count).
        """
        rank = bits >> np.uint64(1)
        if self.continues is not None:
            rank = self._rank_words(tokens, rank, count)
        rank[self.special[tokens]] |= _LAST
        return np.sort(np.argpartition(rank, count - 1, axis=1)[:, :count], axis=1)

    def _rank_words(self, tokens: NDArray[np.int64], rank: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
        """Rank tokens so that the `count` smallest numbers belong to whole words, shape (samples, length)."""
        columns = np.arange(tokens.shape[1])
        special = self.special[tokens]
        starts = ~self.continues[tokens]  # type: ignore[index]
        starts[:, 1:] |= special[:, :-1]  # [CLS] may stand in the middle of a word
        starts[:, 0] = True
        words = np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
        rank = np.take_along_axis(rank, words, axis=1) >> np.uint64(1)
        rank = rank >> _COLUMN_BITS << _COLUMN_BITS | columns.astype(np.uint64)
        rank[special] |= _LAST
        rows = np.arange(len(tokens))
        while len(rows):
            order = np.argpartition(rank[rows], [count - 1, count], axis=1)[:, count - 1 : count + 1]
            (last, after), least = words[rows[:, None], order].T, rank[rows, order[:, 0]]
            cut = (last == after) & (least < _PASSED_OVER)
            rows, last = rows[cut], last[cut]
            rank[rows] |= np.where(words[rows] == last[:, None], _PASSED_OVER, np.uint64(0))
        return rank

    def show(
        self, tokens: NDArray[np.int64], chosen: NDArray[np.int64], chance: NDArray[np.float64], ignored: int
    ) -> NDArray[np.int64]:
        """Change `tokens` in place at the chosen positions: 80% become [MASK], 10% a random token, 10% stay.

        Args:
            tokens: shape (samples, length).
            chosen: positions, shape (samples, count).
            chance: uniform numbers in [0, 1) for the chosen positions, of the same shape.
            ignored: the label of special tokens, which stay as they are.
        Returns:
            The tokens that were at the chosen positions, shape (samples, count).
        """
        labels = np.take_along_axis(tokens, chosen, axis=1)
        any_token = ((chance - HIDDEN) / REPLACED * len(self.special)).astype(np.int64)
        any_token = np.clip(any_token, 0, len(self.special) - 1)
        shown = np.where(chance < HIDDEN, self.mask_token, labels)
        shown = np.where((chance >= HIDDEN) & (chance < HIDDEN + REPLACED), any_token, shown)
        special = self.special[labels]
        np.put_along_axis(tokens, chosen, np.where(special, labels, shown), axis=1)
        labels[special] = ignored
        return labels


def word_continuations(tokenizer_json: Path) -> list[int] | None:
    """The ids of the tokens that continue a word (WordPiece writes them with `##`). None for other tokenizers."""
    model = json.loads(tokenizer_json.read_text(encoding="utf-8"))["model"]
    if model["type"] != "WordPiece":
        return None
    return [i for token, i in model["vocab"].items() if token.startswith(model["continuing_subword_prefix"])]


def _table(size: int, ids: list[int]) -> NDArray[np.bool_]:
    marks = np.zeros(size, dtype=bool)
    marks[ids] = True
    return marks
