"""Turn questions into overlapping windows: the question and then a part of its text. And find answers in windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from apollo_ds.finetune.features import Feature, feature_of
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.finetune.questions import Question

LONGEST_ANSWER = 30
"""Tokens."""
_OVERLAP = 3
"""A window shares a third of `max_length` tokens with the next one."""
_QUESTION = 4
"""A question keeps at most a quarter of `max_length`."""


@dataclass(frozen=True)
class Window:
    """A question and a part of its text."""

    owner: int
    """The number of the question among all questions."""
    feature: Feature
    first: int
    """The place of the first token of the text in the window."""
    offsets: np.ndarray
    """The characters of the text at which each of its tokens begins and ends, shape (tokens, 2)."""
    answer: tuple[int, int]
    """The tokens at which the first answer begins and ends. Both are 0 if it is not completely in the window."""


@dataclass(frozen=True)
class Windows:
    """The windows of all questions, in order."""

    questions: Sequence[Question]
    windows: list[Window]

    @classmethod
    def of(cls, questions: Sequence[Question], pretrained: Pretrained, max_length: int) -> Self:
        """Cut questions and their texts into windows of at most `max_length` tokens. Long questions are cut too."""
        asked = _cut([question.question for question in questions], pretrained, max_length // _QUESTION)
        encoded = pretrained.encode_in_parts(
            asked,
            [question.context for question in questions],
            truncation="only_second",
            max_length=max_length,
            stride=max_length // _OVERLAP,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        return cls(questions, [window for start, part in encoded for window in _windows(questions, start, part)])

    @property
    def features(self) -> list[Feature]:
        """The model's input for each window."""
        return [window.feature for window in self.windows]

    def labelled(self) -> list[Feature]:
        """The model's input for each window, with the tokens at which the answer begins and ends as labels."""
        return [
            {**window.feature, "start_positions": window.answer[0], "end_positions": window.answer[1]}
            for window in self.windows
        ]

    def answers(self, rows: Sequence[Tensor]) -> list[str]:
        """The best answer to each question over its windows.

        Args:
            rows: for each window the scores for an answer to begin or end at each token, shape (2, tokens or more).
        """
        best = [(float("-inf"), "")] * len(self.questions)
        for window, row in zip(self.windows, rows, strict=True):
            if len(window.offsets):
                found = _best(window, row, self.questions[window.owner].context)
                best[window.owner] = max(best[window.owner], found)
        return [text for _, text in best]


def _windows(questions: Sequence[Question], start: int, encoded: Any) -> Iterator[Window]:
    """Yield the windows of some questions. The first of them has the number `start`."""
    for number, place in enumerate(encoded["overflow_to_sample_mapping"]):
        text = [token for token, sequence in enumerate(encoded.sequence_ids(number)) if sequence == 1]
        first, end = (text[0], text[-1] + 1) if text else (0, 0)
        offsets = np.array(encoded["offset_mapping"][number][first:end], dtype=np.int32)
        owner = start + place
        yield Window(owner, feature_of(encoded, number), first, offsets, _answer(questions[owner], encoded, number))


def _answer(question: Question, encoded: Any, number: int) -> tuple[int, int]:
    start, text = question.answers[0]
    # A space belongs to no token.
    begins = start + len(text) - len(text.lstrip())
    ends = start + len(text.rstrip()) - 1
    first, last = (encoded.char_to_token(number, character, 1) for character in (begins, ends))
    return (0, 0) if first is None or last is None else (first, last)


def _best(window: Window, row: Tensor, context: str) -> tuple[float, str]:
    """The score and the text of the best answer that a window shows."""
    tokens = len(window.offsets)
    begin, end = row[:, window.first : window.first + tokens]
    pairs = begin.unsqueeze(1) + end
    # An answer must not end before it begins, and must not be longer than LONGEST_ANSWER.
    allowed = torch.ones_like(pairs, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
    first, last = divmod(int(pairs.where(allowed, float("-inf")).argmax()), tokens)
    text = context[window.offsets[first, 0] : window.offsets[last, 1]]
    return float(pairs[first, last]), text.strip()


def _cut(questions: list[str], pretrained: Pretrained, tokens: int) -> list[str]:
    """The questions, each cut to at most `tokens` tokens."""
    encoded = pretrained.encode_in_parts(
        questions, truncation=True, max_length=tokens, add_special_tokens=False, return_offsets_mapping=True
    )
    ends = [offsets[-1][1] if offsets else 0 for _, part in encoded for offsets in part["offset_mapping"]]
    return [question[:end] for question, end in zip(questions, ends, strict=True)]
