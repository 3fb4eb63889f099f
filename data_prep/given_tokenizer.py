"""Load a tokenizer that the user gives: a `vocab.txt`, or a folder from which transformers loads one."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from data_prep import files
from data_prep.did_you_mean import nearest
from data_prep.encode import plain_text
from data_prep.errors import DataError, first_line
from data_prep.json_keys import KeyTwice, once_each
from data_prep.tokenizer import BERT_SPECIAL, TRAINERS, bert_tokenizer, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_JSON = "tokenizer.json"
_READ = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
"""Suffixes of the files from which transformers may make a tokenizer. The weights of a model are not among them."""
_PROBES = (
    "The cat sat on the mat, and didn't say: \"It's 1,234.5 o'clock!\"",
    " one two  three\n\nfour\tfive\r\nsix ",
    "Größe, naïve cafés; İstanbul, ΣΊΣΥΦΟΣ. 中文字 한국어 עברית 👩‍👩‍👧‍👦 e\u0301",
    "def f(x):\n    return x**2  # a_b->c\n",
    "https://example.org/a?b=c&d=%20 user@example.org #tag antidisestablishmentarianism",
    *(" ".join(map(chr, range(first, first + 64))) for first in (*range(0, 0xD800, 64), *range(0xF900, 0x20000, 64))),
)
"""Texts that tell two tokenizers apart: prose, and every character up to the last emoji."""


def load(path: str, folder: Path) -> None:
    """Save a given tokenizer where `AutoTokenizer.from_pretrained(folder)` finds it.

    Args:
        path: a `vocab.txt`, which gives BERT's tokenizer (uncased if the vocabulary is), or a saved folder.
        folder: where to write.
    Raises:
        DataError: there is no tokenizer, it is damaged, it encodes at random, or the vocabulary lacks a special token
            of BERT.
    """
    if Path(path).is_file():
        bert_tokenizer(_read_vocabulary(Path(path))).save_pretrained(folder)
    elif Path(path).is_dir():
        _load_folder(Path(path), folder)
    else:
        near = nearest(TRAINERS, path)
        fix = (
            f"did you mean {near}?"
            if near
            else "give wordpiece or bpe to train one, a vocab.txt, or a folder that transformers saved one in"
        )
        raise DataError(f"--tokenizer {path}: there is no such file or folder; {fix}")


def stamp(path: str) -> str:
    """A hash of the files from which a given tokenizer is read."""
    given = Path(path)
    read = sorted(p for p in given.iterdir() if p.suffix in _READ and p.is_file()) if given.is_dir() else [given]
    return files.key([(file.name, files.describe(file)) for file in read if file.is_file()])


def _read_vocabulary(path: Path) -> dict[str, int]:
    """The id of each token of a `vocab.txt`: the number of its line, from 0. Only a line feed ends a line."""
    if path.suffix == ".json":
        raise DataError(f"{path}: is not a vocab.txt: give the folder that it is in")
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8: give a vocab.txt, one token a line, or a folder") from None
    if not lines[-1]:
        lines.pop()
    vocabulary: dict[str, int] = {}
    for i, token in enumerate(line.removesuffix("\r") for line in lines):
        if not token:
            raise DataError(f"{path}: line {i + 1} is empty, and each line is a token: remove it, or write one there")
        if token in vocabulary:
            raise DataError(
                f"{path}: lines {vocabulary[token] + 1} and {i + 1} are the same token {token!r}: make one another, "
                "such as [unused1], so that each id has its own"
            )
        vocabulary[token] = i
    missing = [token for token in BERT_SPECIAL if token not in vocabulary]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}: add a line for each special token")
    return vocabulary


def _load_folder(given: Path, folder: Path) -> None:
    if (given / _JSON).is_file():
        _check_json(given / _JSON)
    elif (given / "vocab.txt").is_file():
        vocabulary = _read_vocabulary(given / "vocab.txt")
        if not any(given.glob("*config.json")):  # these files name the tokenizer's class
            bert_tokenizer(vocabulary).save_pretrained(folder)
            return
    tokenizer = _from_folder(given)
    if not tokenizer.is_fast:
        raise DataError(
            f"{given}: {type(tokenizer).__name__} is not of the tokenizers library: save one there that has a {_JSON}"
        )
    if not any((given / name).is_file() for name in (_JSON, *tokenizer.vocab_files_names.values())):
        raise DataError(f"{given}: holds no tokenizer, such as a {_JSON}: save one there by save_pretrained")
    vocabulary_size(tokenizer.get_vocab(), str(given))
    tokenizer.init_kwargs.pop("auto_map", None)  # it names code of others, which is never run
    forget_how_loaded(tokenizer)
    tokenizer.save_pretrained(folder)
    wanted = list(_ids(tokenizer.backend_tokenizer, given))
    for place in (given, folder):
        if (place / _JSON).is_file():
            _compare(wanted, _ids(_from_json(place / _JSON), place), given, type(tokenizer).__name__)
    _compare(wanted, _ids(_from_folder(folder).backend_tokenizer, given), given, type(tokenizer).__name__)


def forget_how_loaded(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Remove from a tokenizer where and how it was loaded, so that it is saved the same in every case."""
    for key in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(key, None)


def _check_json(path: Path) -> None:
    """Raise a DataError for a key that comes twice, and for a setting that makes encoding random."""
    try:
        settings = json.loads(path.read_bytes(), object_pairs_hook=once_each)
        model = settings["model"]
        dropout = model.get("dropout")
    except KeyTwice as twice:
        raise DataError(f"{path}: has the key {str(twice)!r} twice in one mapping: remove one") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{path}: is not a tokenizer's JSON: restore it, or save the tokenizer again") from None
    if dropout:
        raise DataError(
            f"{path}: model.dropout is {dropout}, so that the same text would be encoded differently each time: set it "
            "to null"
        )


def _from_folder(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except BaseException as error:  # damaged files raise anything here, even a panic of Rust
        raise _unreadable(folder, error) from None
    return tokenizer


def _from_json(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:  # as above
        raise _unreadable(path, error) from None


def _ids(tokenizer: Tokenizer, given: Path) -> Iterable[list[int]]:
    """The ids of each probe text."""
    tokenizer = plain_text(tokenizer)
    try:
        yield from (encoding.ids for encoding in tokenizer.encode_batch_fast(_PROBES, add_special_tokens=False))
    except BaseException as error:  # as above
        raise _unreadable(given, error) from None


def _compare(wanted: list[list[int]], found: Iterable[list[int]], given: Path, name: str) -> None:
    for probe, ids, others in zip(_PROBES, wanted, found, strict=True):
        if ids != others:
            raise DataError(
                f"{given}: its {_JSON} and the {name} that transformers makes of the folder give different ids for "
                f"{probe!r}: set tokenizer_class in tokenizer_config.json to PreTrainedTokenizerFast, or save the "
                "tokenizer again by save_pretrained"
            )


def _unreadable(path: Path, error: BaseException) -> BaseException:
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return error
    said = first_line(error)[:200]
    reason = "".join(character if character.isprintable() else "?" for character in said)
    return DataError(f"{path}: holds no tokenizer that transformers loads ({reason}): save one there")
