"""Choose a part of the training examples."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def sample(examples: Sequence[T], most: int | None) -> list[T]:
    """At most `most` of the examples, or all if it is None. They are chosen at random, but always the same ones."""
    if most is None or most >= len(examples):
        return list(examples)
    return random.Random(0).sample(examples, most)
