"""Tokenizers of `transformers`, loaded only from where one is."""

from pathlib import Path
from typing import Any

from apollo_ds.errors import UserError
from data_prep.errors import first_line
from data_prep.given_tokenizer import forget_how_loaded


def load_tokenizer(source: str | Path, says: dict[str, Any] | None = None, by: Any = None) -> Any:
    """A saved tokenizer, or one of the hub.

    Args:
        source: a folder, or a name on the hub.
        says: what the tokenizer is to say of itself in place of what is saved, such as `model_max_length`.
        by: the class to load it by; by default the one that the files name.
    Raises:
        UserError: it cannot be read, or there is none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = (by or AutoTokenizer).from_pretrained(source, trust_remote_code=False, **(says or {}))
    except Exception as error:  # damaged files raise anything in transformers
        raise UserError(f"{source}: cannot be read as a tokenizer ({first_line(error)}); restore it") from None
    forget_how_loaded(tokenizer)
    if not _is_saved(tokenizer, Path(source)):
        raise UserError(f"{source}: holds no tokenizer; save the model's own there, with its tokenizer.json")
    return tokenizer


def greatest_id(tokenizer: Any) -> int:
    """The greatest id of its tokens. Ids may have gaps, so that there may be more of them than tokens."""
    return max(tokenizer.get_vocab().values())


def _is_saved(tokenizer: Any, folder: Path) -> bool:
    """Whether it was read from files. Without any, transformers makes one up that knows special tokens alone."""
    names = type(tokenizer).vocab_files_names.values()
    if folder.is_dir() and names and not any((folder / name).is_file() for name in (*names, "tokenizer.json")):
        return False
    return bool(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
