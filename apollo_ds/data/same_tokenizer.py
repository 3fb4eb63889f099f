"""Check that a saved model and a text have the same tokenizer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apollo_ds.data.corpus import Corpus
from apollo_ds.data.saved_tokenizer import load_tokenizer
from apollo_ds.errors import UserError, shown
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from data_prep import files
from data_prep.counted import counted

_JSON = "tokenizer.json"
_PARTS = ("normalizer", "pre_tokenizer", "added_tokens")
"""The parts of a tokenizer, beside its model, that decide a text's ids. Other parts pad, cut, add special tokens, or
turn ids into text."""


def check_same_tokenizer(folder: Path, shape: ModelShape, text: Corpus, recorded: str | None = None) -> None:
    """Check that a saved model's tokenizer gives the ids that a text was prepared with.

    Args:
        folder: the folder of the model and its tokenizer.
        shape: the model's shape.
        text: the text to train on.
        recorded: the hash of the tokenizer that the model was trained with, if the model says so.
    Raises:
        UserError: the folder holds no tokenizer or a different one, or the text's tokenizer is damaged.
    """
    text.check_tokenizer()
    tokenizer = _loaded(folder)
    path = folder / _JSON
    is_same = text.tokenizer_hash in (recorded, files.sha256(path) if path.is_file() else None)
    if not is_same and (difference := _difference(folder, tokenizer, text)):
        raise UserError(
            f"{folder}: its tokenizer {difference} than that of {text.tokenizer_folder}; prepare the text with the "
            f"model's: `apollo-prep build --tokenizer {folder}`"
        )
    if family_of(shape).is_masked:
        _check_special(folder, tokenizer, text)


def _loaded(folder: Path) -> Any:
    """The tokenizer that `transformers` makes of a folder."""
    names = (_JSON, "vocab.txt", "vocab.json", "*.model")
    if not any(found.is_file() for name in names for found in folder.glob(name)):
        raise UserError(f"{folder}: holds no tokenizer; save the model's own there, with its {_JSON}")
    tokenizer = load_tokenizer(folder)
    if not tokenizer.is_fast:
        raise UserError(f"{folder}: its tokenizer is not one of the tokenizers library; save it with a {_JSON}")
    return tokenizer


def _difference(folder: Path, tokenizer: Any, text: Corpus) -> str | None:
    """The first difference, in words that go before "than". None if there is no difference.

    A text has its tokenizer as `transformers` saved it, and transformers may change it compared with the given file. So
    two tokenizers count as the same if they agree either as their files say, or as `transformers` makes them.
    """
    told = None
    for mine in _ways(folder, tokenizer.backend_tokenizer):
        for theirs in _ways(text.tokenizer_folder, None):
            found = _first_difference(mine, theirs)
            if found is None:
                return None
            told = told or found
    return told


def _ways(folder: Path, made: Any) -> Iterator[Any]:
    """Yield a folder's tokenizer as `transformers` makes it (`made`, if it is already loaded), and as its file says."""
    from tokenizers import Tokenizer

    yield made or load_tokenizer(folder).backend_tokenizer
    if (folder / _JSON).is_file():
        yield Tokenizer.from_file(str(folder / _JSON))


def _first_difference(mine: Any, theirs: Any) -> str | None:
    vocabulary, other = (tokenizer.get_vocab(with_added_tokens=True) for tokenizer in (mine, theirs))
    unlike = sorted(token for token, _ in vocabulary.items() ^ other.items())
    if unlike:
        count, token = len(set(unlike)), unlike[0]
        here, there = (ids.get(token, "none") for ids in (vocabulary, other))
        some = counted(count, "token")
        return f"has {some} with another id, such as {shown(token)} ({here}, not {there}),"
    settings, others = (json.loads(tokenizer.to_str()) for tokenizer in (mine, theirs))
    parts = [(part, settings.get(part), others.get(part)) for part in _PARTS]
    parts += [(f"model.{key}", settings["model"].get(key), value) for key, value in others["model"].items()]
    differing = next((part for part, own, other in parts if own != other), None)
    return f"has another {differing}" if differing else None


def _check_special(folder: Path, tokenizer: Any, text: Corpus) -> None:
    for name, wanted in (("cls", text.cls_token), ("mask", text.mask_token)):
        found = getattr(tokenizer, f"{name}_token_id")
        if found != wanted:
            raise UserError(
                f"{folder}: the id of its {name}_token is {found}, and {wanted} in {text.folder}; prepare the text "
                f"with the model's tokenizer: `apollo-prep build --tokenizer {folder}`"
            )
