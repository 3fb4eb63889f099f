"""Cleaning of one document at a time."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

NormalForm = Literal["NFC", "NFKC"]


@dataclass(frozen=True)
class Cleaning:
    """How each document is cleaned.

    `normalize` is a Unicode form (NFC, NFKC) or None. Documents of fewer than `min_characters` characters are dropped.
    """

    normalize: NormalForm | None
    min_characters: int

    def apply(self, texts: Iterable[str], dropped: Counter[str]) -> Iterator[str]:
        """Yield the documents that stay. Count the others in `dropped`, by reason."""
        for text in map(self._normalized, texts):
            if not text or text.isspace():
                dropped["empty"] += 1
            elif len(text) < self.min_characters:
                dropped["short"] += 1
            else:
                yield text

    def _normalized(self, text: str) -> str:
        return unicodedata.normalize(self.normalize, text) if self.normalize else text
