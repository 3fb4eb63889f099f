"""Is the tokenizer of a saved model that of a text?"""

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
"""Those that decide a text's ids beside the model. The others pad, cut, add special tokens, or turn ids into text."""


def check_same_tokenizer(folder: Path, shape: ModelShape, text: Corpus, recorded: str | None = None) -> None:
    """Check that a saved model's tokenizer gives the ids that a text was prepared with.

    Args:
        folder: where the model is, with its tokenizer.
        shape: the model's.
        text: what is to be trained on.
        recorded: the hash of the tokenizer, where the model tells the one that it was trained with.
    Raises:
        UserError: the folder holds no tokenizer or another one, or the text's is damaged.
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
    """The tokenizer as `transformers` makes it of the folder."""
    names = (_JSON, "vocab.txt", "vocab.json", "*.model")
    if not any(found.is_file() for name in names for found in folder.glob(name)):
        raise UserError(f"{folder}: holds no tokenizer; save the model's own there, with its {_JSON}")
    tokenizer = load_tokenizer(folder)
    if not tokenizer.is_fast:
        raise UserError(f"{folder}: its tokenizer is not one of the tokenizers library; save it with a {_JSON}")
    return tokenizer


def _difference(folder: Path, tokenizer: Any, text: Corpus) -> str | None:
    """What differs, in words that "than" follows; None if nothing does.

    Text holds a tokenizer as `transformers` made it of what was given, which may write it otherwise than the file says.
    So one that is the same by either way is the same.
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
    """A folder's tokenizer as `transformers` makes it, which may be known already, and as its file says."""
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
