"""Check that runs can be compared: their held-out losses must measure the same, and usually of the same model."""

from collections.abc import Sequence
from typing import Any

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.recipes import text_in_words
from apollo_ds.experiments.history import RunHistory

_MAY_DIFFER = ("dropout", "initializer_range")
"""Keys of a model that say how it is trained or initialised. They may differ."""
_OF_ANY_SIZE = ("model.family", "model.vocab_size")
"""Keys of a model that must agree even if models have different sizes."""
_OF_THE_LOSS = ("seq_len", "eval_samples", "masking", "document_mask")
"""Keys of a recipe that decide what the held-out loss measures."""
_OF_THE_TEXT = {"tokenizer": "the tokenizer", "held_out": "the held-out text"}
"""The hashes in config.yaml that must agree, and what each is of, in words."""


def check_comparable(runs: Sequence[RunHistory], of_one_model: bool = True) -> None:
    """Check that the held-out losses of runs measure the same.

    Raises:
        UserError: a run differs from the first one in the held-out text, the tokenizer, the model, or in the length,
            number, masking or document mask of the held-out samples. The message names such runs and the first
            difference. With `of_one_model` false, only the family and the vocabulary of the models must agree.
    """
    first, *others = runs
    unlike = [(run, why) for run in others if (why := difference(first, run, of_one_model))]
    if unlike:
        raise UserError("; ".join(unlike_in_words(unlike, first)))


def unlike_in_words(unlike: Sequence[tuple[RunHistory, str]], first: RunHistory) -> list[str]:
    """A sentence for each `difference` from the first run. It names the runs that have it, and has no full stop."""
    by_reason: dict[str, list[str]] = {}
    for run, why in unlike:
        by_reason.setdefault(why, []).append(str(run.folder))
    return [
        f"{' and '.join(folders)} cannot be compared with {first.folder}: {why}" for why, folders in by_reason.items()
    ]


def difference(first: RunHistory, other: RunHistory, of_one_model: bool = True) -> str | None:
    """Why a run cannot be compared with the first one, in words. None if it can."""
    texts = [words for key, words in _OF_THE_TEXT.items() if _is_unlike(key, first, other)]
    if texts:
        return f"{' and '.join(texts)} {'are' if len(texts) > 1 else 'is'} {_of_texts(first, other)}"
    pairs = [(key, first.recipe.get(key), other.recipe.get(key)) for key in _OF_THE_LOSS]
    pairs += _of_the_model(first, other, of_one_model)
    found = next(((key, f"{key} is {there}, not {here}") for key, here, there in pairs if here != there), None)
    if found is None:
        return None
    key, why = found
    is_of_size = key.startswith("model.") and key not in _OF_ANY_SIZE
    return why + ("; --frontier compares models of different sizes" if is_of_size else "")


def share_model(runs: Sequence[RunHistory]) -> bool:
    """Whether all runs train the same model."""
    return all(here == there for run in runs for _, here, there in _of_the_model(runs[0], run, all_of_it=True))


def _is_unlike(key: str, first: RunHistory, other: RunHistory) -> bool:
    """Whether two runs differ in a hash. If an earlier version recorded none, the folders of the text are compared."""
    if key in first.config and key in other.config:
        return bool(first.config[key] != other.config[key])
    return bool(first.recipe["data"] != other.recipe["data"])


def _of_texts(first: RunHistory, other: RunHistory) -> str:
    here, there = text_in_words(first.recipe["data"]), text_in_words(other.recipe["data"])
    if here != there:
        return f"of {there}, not of {here}"
    return f"another, though both were of {here}, which has been prepared anew"


def _of_the_model(first: RunHistory, other: RunHistory, all_of_it: bool) -> list[tuple[str, Any, Any]]:
    """The keys of the models that must agree, with their values in both runs."""
    here, there = first.recipe["model"], other.recipe["model"]
    pairs = [(f"model.{key}", here[key], there.get(key)) for key in here if key not in _MAY_DIFFER]
    return [pair for pair in pairs if all_of_it or pair[0] in _OF_ANY_SIZE]
