"""The request of a user to adopt shards."""

import os
import shlex
from dataclasses import asdict, dataclass
from typing import Any

from data_prep.errors import DataError


@dataclass(frozen=True)
class Adoption:
    """The shards to adopt, and how.

    Attributes:
        shards: folders and prefixes of shards.
        validation: shards whose documents are held out. If there are none, some documents of `shards` are held out.
        tokenizer: the path of the tokenizer that the shards were made with.
        validation_fraction: the share of the documents to hold out if `validation` is empty, from 0 to below 1.

    Raises:
        DataError: a value is out of range, or there is no tokenizer.
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
        """The values for the manifest's `options`."""
        shards, validation = (shlex.join(map(os.path.abspath, names)) for names in (self.shards, self.validation))
        return {**asdict(self), "shards": shards, "validation": validation}
