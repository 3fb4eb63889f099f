"""The options for choosing the tokens of a text. Nothing here imports torch."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from apollo_ds.errors import UserError

_COLDEST = 0.001
"""The lowest temperature above 0. Logits that are divided by less could become infinite."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. The fields have the names of the options of `apollo-ds generate`."""

    max_new_tokens: int = 100
    """The most tokens that follow a prompt."""
    temperature: float = 0.8
    """With 0 the likeliest token is always chosen."""
    top_p: float = 0.95
    """Tokens are drawn only from the likeliest ones that together have this probability."""
    seed: int = 0
    """The same seed gives the same text."""
    count: int = 1
    """How many texts to write for each prompt."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: a value is out of range, or two options do not fit together.
        """
        if not (isfinite(self.temperature) and (self.temperature == 0 or self.temperature >= _COLDEST)):
            raise UserError(
                f"--temperature {self.temperature:g}: give 0, for the likeliest token, or {_COLDEST} or more"
            )
        if not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p:g}: give a number above 0 and up to 1")
        if self.temperature == 0 and self.count > 1:
            raise UserError(f"--count {self.count}: with --temperature 0 all texts are the same; leave one of them out")

    @property
    def options(self) -> dict[str, Any]:
        """The options under the names that `transformers` gives them."""
        if self.temperature == 0:
            return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        return {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
