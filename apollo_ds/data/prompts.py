"""Make the prompts for a model in training, from the user's own words or from the beginnings of held-out documents.

Nothing here imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, takewhile, zip_longest
from typing import Any

import numpy as np

from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError, shown
from data_prep.plain import without_controls
from data_prep.shards import Shards

MASK = "[MASK]"
"""The word in a prompt for a word to fill in, whatever the tokenizer calls its mask."""
_COUNT = 3
_LONGEST_TO_CONTINUE, _LONGEST_TO_FILL_IN = 16, 32
"""How many tokens of a held-out document are used."""
_MASKED_EVERY = 8


def common_beginning(text: str, other: str) -> int:
    """The number of characters at the beginning that two texts have in common.

    The last characters of a prompt can differ between the prompt alone and the prompt with its continuation.
    """
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))


@dataclass(frozen=True)
class Prompts:
    """Turns texts into prompts, and tokens into text."""

    corpus: Corpus
    """The text whose tokenizer is used."""
    is_masked: bool
    """Whether the model fills in masks. Otherwise it continues text."""
    seq_len: int
    """The number of tokens of a sample."""

    def of_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of the user's own prompts.

        Raises:
            UserError: a prompt is empty, is too long or has nothing to fill in, or the tokenizer's files are damaged.
        """
        return [self._of_text(text) for text in texts]

    def of_documents(self, held_out: Sequence[Shards]) -> list[list[int]]:
        """The token ids of the beginnings of three held-out documents. The texts take turns.

        For a masked model every eighth token is masked.
        """
        in_turn = chain.from_iterable(zip_longest(*map(self._beginnings, held_out)))
        return [prompt for prompt in in_turn if prompt][:_COUNT]

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of tokens. It has no special tokens but masks, and no control characters for a terminal."""
        known = self.corpus.manifest.tokenizer
        hidden = {*known.special, known.end_of_document} - {known.mask}
        text: str = self._tokenizer.decode([t for t in tokens if t not in hidden], skip_special_tokens=False)
        return without_controls(text.replace(self._mask, MASK))

    def _of_text(self, text: str) -> list[int]:
        tokens = self._tokenizer.encode(text.replace(MASK, self._mask), add_special_tokens=False).ids
        if not tokens:
            raise UserError("sample_prompts: one of them is empty; give it a word, or remove it")
        if self.is_masked and self.corpus.mask_token not in tokens:
            raise UserError(f"sample_prompts: {shown(text)} has no {MASK} for the model to fill in; write one")
        prompt = self._framed(tokens)
        room = self.seq_len if self.is_masked else self.seq_len - 1
        if len(prompt) > room:
            raise UserError(
                f"sample_prompts: {shown(text)} has {len(prompt)} tokens, and there is room for {room} in a sample; "
                "shorten it, or raise seq_len"
            )
        return prompt

    def _beginnings(self, shards: Shards) -> list[list[int]]:
        longest = min(_LONGEST_TO_FILL_IN if self.is_masked else _LONGEST_TO_CONTINUE, self.seq_len // 2)
        chosen = np.flatnonzero(shards.lengths > longest)[:_COUNT]
        if not len(chosen):
            chosen = np.argsort(-shards.lengths, kind="stable")[:_COUNT]
        lengths = shards.lengths[chosen].clip(max=longest + 1)
        pieces = np.split(shards.read(shards.first_tokens[chosen], lengths), lengths.cumsum()[:-1])
        return [self._framed(self._with_masks(self._whole_words(piece.tolist()))) for piece in pieces]

    def _whole_words(self, tokens: list[int]) -> list[int]:
        """The tokens without the last one, cut back to where a word ends. If none ends there, nothing is cut back."""
        texts = [self.text_of(tokens[:length]) for length in range(len(tokens) + 1)]
        for length in range(len(tokens) - 1, len(tokens) // 2, -1):
            if texts[length + 1][: len(texts[length]) + 1] == f"{texts[length]} ":
                return tokens[:length]
        return tokens[: max(1, len(tokens) - 1)]

    def _with_masks(self, tokens: list[int]) -> list[int]:
        if not self.is_masked:
            return tokens
        first = min(len(tokens), _MASKED_EVERY) // 2
        is_masked = [number % _MASKED_EVERY == first for number in range(len(tokens))]
        return [self.corpus.mask_token if hide else token for token, hide in zip(tokens, is_masked, strict=True)]

    def _framed(self, tokens: list[int]) -> list[int]:
        """The tokens with the special tokens around them that a masked model's samples have."""
        if not self.is_masked:
            return tokens
        return [self.corpus.cls_token, *tokens, self.corpus.manifest.tokenizer.end_of_document]

    @property
    def _mask(self) -> str:
        mask = self.corpus.manifest.tokenizer.mask
        return MASK if mask is None else str(self._tokenizer.id_to_token(mask))

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        self.corpus.check_tokenizer()
        return Tokenizer.from_file(str(self.corpus.folder / self.corpus.manifest.tokenizer_json))
