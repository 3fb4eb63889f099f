"""What a user asks of an adoption of shards."""

import os
import shlex
from dataclasses import asdict, dataclass
from typing import Any

from data_prep.errors import DataError


@dataclass(frozen=True)
class Adoption:
    """What a user asks of an adoption.

    Attributes:
        shards: folders and prefixes of shards.
        validation: those whose documents are held out. Without any, some documents of `shards` are.
        tokenizer: where the tokenizer is that the shards were made with.
        validation_fraction: the share that is held out where `validation` names none.

    Raises:
        DataError: a value out of range, or no tokenizer.
    """

    shards: tuple[str, ...]
    tokenizer: str
    validation: tuple[str, ...] = ()
    validation_fraction: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise DataError(f"--validation-fraction {self.validation_fraction}: must be at least 0 and below 1")
        if not os.path.exists(self.tokenizer):
            raise DataError(
                f"--tokenizer {self.tokenizer}: nothing there: give the vocab.txt, or the folder of the tokenizer, "
                "that the shards were made with"
            )

    @property
    def options(self) -> dict[str, Any]:
        """The manifest's `options`."""
        shards, validation = (shlex.join(map(os.path.abspath, names)) for names in (self.shards, self.validation))
        return {**asdict(self), "shards": shards, "validation": validation}
