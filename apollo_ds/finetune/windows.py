"""Questions as what a model reads: overlapping windows of a text behind its question, and answers found in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.finetune.problem import Feature
from apollo_ds.finetune.squad import Question

LONGEST_ANSWER = 30
"""Tokens."""
_OVERLAP = 3
"""Windows share a third of `max_length` with the next."""
_QUESTION = 4
"""A question keeps at most a quarter of `max_length`."""


@dataclass(frozen=True)
class Windows:
    """The windows of all questions, in order."""

    questions: Sequence[Question]
    features: list[Feature]
    owners: list[int]
    """The question that each window is of."""
    encoded: Any

    @classmethod
    def of(cls, questions: Sequence[Question], pretrained: Pretrained, max_length: int) -> Self:
        """Windows of at most so many tokens; long questions are cut."""
        encoded = pretrained.encode(
            _cut([question.question for question in questions], pretrained, max_length // _QUESTION),
            [question.context for question in questions],
            truncation="only_second",
            max_length=max_length,
            stride=max_length // _OVERLAP,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        owners = encoded["overflow_to_sample_mapping"]
        inputs = [name for name in encoded if name not in ("overflow_to_sample_mapping", "offset_mapping")]
        features = [{name: encoded[name][window] for name in inputs} for window in range(len(owners))]
        return cls(questions, features, owners, encoded)

    def labelled(self) -> list[Feature]:
        """The features with the tokens at which the first answer starts and ends; both 0 where it is not in view."""
        labelled = []
        for window, feature in enumerate(self.features):
            start, text = self.questions[self.owners[window]].answers[0]
            lead = len(text) - len(text.lstrip())
            first = self.encoded.char_to_token(window, start + lead, 1)
            last = self.encoded.char_to_token(window, start + len(text.rstrip()) - 1, 1)
            seen = first is not None and last is not None
            labelled.append({**feature, "start_positions": first if seen else 0, "end_positions": last if seen else 0})
        return labelled

    def answers(self, rows: Sequence[Tensor]) -> list[str]:
        """The best answer to each question over its windows.

        Args:
            rows: for each window the scores (2, tokens or more) of starting and of ending at a token.
        """
        best = [(float("-inf"), "")] * len(self.questions)
        for window, row in enumerate(rows):
            owner = self.owners[window]
            for found in self._best(window, row):
                best[owner] = max(best[owner], found)
        return [text for _, text in best]

    def _best(self, window: int, row: Tensor) -> Iterator[tuple[float, str]]:
        """The score and the text of the best part of a window's text, if it shows any of it."""
        places = [place for place, sequence in enumerate(self.encoded.sequence_ids(window)) if sequence == 1]
        if not places:
            return
        start, end = row[:, places[0] : places[-1] + 1]
        pairs = start.unsqueeze(1) + end
        # An answer does not end before it starts, nor is it longer than LONGEST_ANSWER.
        allowed = torch.ones_like(pairs, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
        first, last = divmod(int(pairs.where(allowed, float("-inf")).argmax()), len(places))
        offsets = self.encoded["offset_mapping"][window]
        context = self.questions[self.owners[window]].context
        text = context[offsets[places[first]][0] : offsets[places[last]][1]]
        yield float(pairs[first, last]), text.strip()


def _cut(questions: list[str], pretrained: Pretrained, tokens: int) -> list[str]:
    """The beginnings of questions, of at most so many tokens."""
    encoded = pretrained.encode(
        questions, truncation=True, max_length=tokens, add_special_tokens=False, return_offsets_mapping=True
    )
    ends = [offsets[-1][1] if offsets else 0 for offsets in encoded["offset_mapping"]]
    return [question[:end] for question, end in zip(questions, ends, strict=True)]
