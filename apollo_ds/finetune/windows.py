"""Questions as what a model reads: overlapping windows of a text behind its question, and answers found in them."""

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
"""Windows share a third of `max_length` with the next."""
_QUESTION = 4
"""A question keeps at most a quarter of `max_length`."""


@dataclass(frozen=True)
class Window:
    """A question and a part of its text."""

    owner: int
    """The question's place among all."""
    feature: Feature
    first: int
    """The token that the part of the text begins with."""
    offsets: np.ndarray
    """The characters of the text (tokens, 2) that each of its tokens begins and ends at."""
    answer: tuple[int, int]
    """The tokens at which the first answer begins and ends; both 0 where it is not wholly in view."""


@dataclass(frozen=True)
class Windows:
    """The windows of all questions, in order."""

    questions: Sequence[Question]
    windows: list[Window]

    @classmethod
    def of(cls, questions: Sequence[Question], pretrained: Pretrained, max_length: int) -> Self:
        """Windows of at most so many tokens; long questions are cut."""
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
        """What the model takes for each window."""
        return [window.feature for window in self.windows]

    def labelled(self) -> list[Feature]:
        """The same, with where the answer begins and ends."""
        return [
            {**window.feature, "start_positions": window.answer[0], "end_positions": window.answer[1]}
            for window in self.windows
        ]

    def answers(self, rows: Sequence[Tensor]) -> list[str]:
        """The best answer to each question over its windows.

        Args:
            rows: for each window the scores (2, tokens or more) of beginning and of ending at a token.
        """
        best = [(float("-inf"), "")] * len(self.questions)
        for window, row in zip(self.windows, rows, strict=True):
            if len(window.offsets):
                found = _best(window, row, self.questions[window.owner].context)
                best[window.owner] = max(best[window.owner], found)
        return [text for _, text in best]


def _windows(questions: Sequence[Question], start: int, encoded: Any) -> Iterator[Window]:
    """Those of some questions, the first of which has this place."""
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
    # An answer does not end before it begins, nor is it longer than LONGEST_ANSWER.
    allowed = torch.ones_like(pairs, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
    first, last = divmod(int(pairs.where(allowed, float("-inf")).argmax()), tokens)
    text = context[window.offsets[first, 0] : window.offsets[last, 1]]
    return float(pairs[first, last]), text.strip()


def _cut(questions: list[str], pretrained: Pretrained, tokens: int) -> list[str]:
    """The beginnings of questions, of at most so many tokens."""
    encoded = pretrained.encode_in_parts(
        questions, truncation=True, max_length=tokens, add_special_tokens=False, return_offsets_mapping=True
    )
    ends = [offsets[-1][1] if offsets else 0 for _, part in encoded for offsets in part["offset_mapping"]]
    return [question[:end] for question, end in zip(questions, ends, strict=True)]
