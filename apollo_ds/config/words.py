"""Read the words of a command line that trains or plans: a recipe, and keys to change, written `key=value`."""

from collections.abc import Sequence
from pathlib import Path

from apollo_ds.config.array_list import with_lists_read
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError

_BETWEEN = "=:"
"""The characters between a key and its value, in the right form or in forms that users may try."""


def split_recipe(words: Sequence[str]) -> tuple[Path, list[str]]:
    """Split the words of a command line into the recipe and the overrides. Without a recipe it is the default one.

    Raises:
        UserError: more than one recipe is named, a space parts a key from its value, or a `@LIST` has no line for this
            task.
    """
    words = with_lists_read(words)
    _check_joined(words)
    overrides = [word for word in words if "=" in word]
    recipes = [word for word in words if "=" not in word]
    if len(recipes) > 1:
        raise UserError(f"one recipe at a time, not {' and '.join(recipes)}; a key to change is written key=value")
    return Path(recipes[0]) if recipes else DEFAULT_RECIPE, overrides


def is_key(word: str) -> bool:
    """Whether a recipe has a key of this name. For a dotted name only the part before the dot counts."""
    return "=" not in word and word.partition(".")[0] in Recipe.model_fields and not word.endswith((".yaml", ".yml"))


def _check_joined(words: Sequence[str]) -> None:
    """Refuse `steps 10`, `steps: 10`, `steps = 10` and the like."""
    for place, word in enumerate(words):
        key, colon, value = word.partition(":")
        if not is_key(key := key.removesuffix("=")) or (not colon and word not in (key, f"{key}=")):
            continue
        if Path(word).exists() or (word == f"{key}=" and place + 1 == len(words)):
            continue
        after = [part for part in words[place + 1 : place + 3] if part.strip(_BETWEEN)]
        value = value or (after[0].lstrip(_BETWEEN) if after else "VALUE")
        raise UserError(f"{key}: is a key of the recipe; write it and its value as one word, {key}={value}")
