"""The options of a build."""

from dataclasses import dataclass, field
from typing import Literal

from data_prep.clean import Cleaning, NormalForm
from data_prep.errors import DataError
from data_prep.fast import Library
from data_prep.sources import Source
from data_prep.tokenizer import SMALLEST_VOCABULARY

LARGEST_VOCABULARY = 1 << 22
"""A trainer reserves memory for as many tokens as are asked for, so there is a limit."""

Deduplicate = Literal["exact", "near"]


@dataclass(frozen=True)
class Options:
    """Everything beside the sources' content that decides the shards. Equal options and sources give equal bytes.

    Attributes:
        sources: where text comes from, in order.
        weights: how often the training documents of a source are written, by the source's name. The default is once.
        tokenizer: `wordpiece` or `bpe` to train one, or the path of a tokenizer.
        vocab_size: how many tokens a tokenizer that is trained gets.
        text_column: the parquet column or JSON key of the text.
        validation_fraction: the share of each source's documents to hold out. Of two or more at least one is.
        normalize: a Unicode normal form, or None.
        min_characters: shorter documents are dropped.
        deduplicate: `exact` drops documents equal to an earlier one, `near` also those similar to one.
        encoder: the library that encodes. All give the same ids.

    Raises:
        DataError: a value is out of range.
    """

    sources: tuple[Source, ...]
    tokenizer: str
    vocab_size: int = 30522
    validation_fraction: float = 0.01
    weights: dict[str, float] = field(default_factory=dict)
    text_column: str = "text"
    normalize: NormalForm | None = None
    min_characters: int = 1
    deduplicate: Deduplicate | None = None
    encoder: Library = "tokenizers"

    def __post_init__(self) -> None:
        if self.vocab_size < SMALLEST_VOCABULARY:
            raise DataError(f"--vocab-size {self.vocab_size}: must be at least {SMALLEST_VOCABULARY}")
        if self.vocab_size > LARGEST_VOCABULARY:
            raise DataError(f"--vocab-size {self.vocab_size}: must be at most {LARGEST_VOCABULARY}")
        if self.min_characters < 0:
            raise DataError(f"--min-characters {self.min_characters}: must be at least 0")
        if not 0 <= self.validation_fraction < 1:
            raise DataError(
                f"--validation-fraction {self.validation_fraction}: must be at least 0 and below 1, such as 0.05"
            )
        names = [source.name for source in self.sources]
        for name, weight in self.weights.items():
            if name not in names:
                raise DataError(f"--weight {name}: there is no source of this name: the sources are {', '.join(names)}")
            if not 0 < weight < 1000:
                raise DataError(f"--weight {name}={weight}: must be above 0 and below 1000")

    @property
    def cleaning(self) -> Cleaning:
        """How each document is cleaned."""
        return Cleaning(self.normalize, self.min_characters)
