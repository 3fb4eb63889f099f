"""A part of the training examples."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def sample(examples: Sequence[T], most: int | None) -> list[T]:
    """At most so many of them, chosen at random, the same ones for every seed of training; all if None."""
    if most is None or most >= len(examples):
        return list(examples)
    return random.Random(0).sample(examples, most)
