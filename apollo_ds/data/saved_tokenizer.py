"""Load tokenizers with `transformers`. A folder without one is an error."""

from pathlib import Path
from typing import Any

from apollo_ds.errors import UserError
from data_prep.errors import first_line
from data_prep.given_tokenizer import forget_how_loaded


def load_tokenizer(source: str | Path, says: dict[str, Any] | None = None, by: Any = None) -> Any:
    """Load a tokenizer from a folder or from the hub.

    Args:
        source: a folder, or a name on the hub.
        says: settings that replace the saved ones, such as `model_max_length`.
        by: the class to load it with. By default the files name the class.
    Raises:
        UserError: there is no tokenizer, or it cannot be read.
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
    """The greatest id of a tokenizer's tokens. If ids have gaps, it can be greater than the number of tokens."""
    return max(tokenizer.get_vocab().values())


def _is_saved(tokenizer: Any, folder: Path) -> bool:
    """Whether a tokenizer was read from files. Without files transformers makes one that knows only special tokens."""
    names = type(tokenizer).vocab_files_names.values()
    if folder.is_dir() and names and not any((folder / name).is_file() for name in (*names, "tokenizer.json")):
        return False
    return bool(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
