"""Encode documents to token ids, word by word. Text repeats its words, so most of them are looked up in a table."""

import json
import re
from array import array
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from data_prep.errors import DataError

# A piece ends only where no token of a tokenizer in `BY_WORDS` can span the end. These places are: before a space or a
# line end that follows something other than white space, and between an ASCII letter and a punctuation mark. Other
# white space does not count, because tokenizers differ on what is white space.
WORDS = re.compile(r"[ \n]?[A-Za-z]+(?=[ \n,.;:!?\")])|\s*\S+(?:[^\S \n]\s*\S*)*|\s+")
BY_WORDS = (
    ("BertNormalizer", {"type": "BertPreTokenizer"}),
    (None, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}),
)
"""The normalizers and pre-tokenizers for which `WORDS` is right, with all settings that decide the ids."""

LONGEST_CACHED = 64
CACHED_WORDS = 1 << 20


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.int32]:
    """The type of a token in a shard: uint16 if the vocabulary is small enough, else int32."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


def plain_text(tokenizer: Tokenizer) -> Tokenizer:
    """Set a tokenizer to encode whole documents, and return it. A special token in the text is read as plain text."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


class Encoder:
    """Encodes documents without special tokens and ends each with one end-of-document token.

    Special tokens that the text spells out are plain text, so no document can pretend to end.
    """

    def __init__(self, tokenizer_json: Path, vocab_size: int, end_of_document: int) -> None:
        self.tokenizer = plain_text(Tokenizer.from_file(str(tokenizer_json)))
        self.words = _Words(self.tokenizer, typecode=np.dtype(token_dtype(vocab_size)).char)
        self.by_words = _is_by_words(self.tokenizer)
        self.end = array(self.words.typecode, [end_of_document]).tobytes()

    def encode(self, text: str) -> bytes:
        """The ids of a document, as the bytes of an array of type `token_dtype`."""
        pieces = WORDS.findall(text) if self.by_words else [text]
        return b"".join(map(self.words.__getitem__, pieces)) + self.end


class _Words(dict[str, bytes]):
    """The ids of each word. A word is encoded when it is first asked for."""

    def __init__(self, tokenizer: Tokenizer, typecode: str) -> None:
        self.tokenizer = tokenizer
        self.typecode = typecode

    def __missing__(self, word: str) -> bytes:
        try:
            ids = array(self.typecode, self.tokenizer.encode(word, add_special_tokens=False).ids).tobytes()
        except Exception as error:  # the library raises no narrower class, for example if it has no unknown token
            raise DataError(f"the tokenizer cannot encode {word[:40]!r} ({error}): give another --tokenizer") from None
        if len(word) <= LONGEST_CACHED:
            if len(self) == CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


def _is_by_words(tokenizer: Tokenizer) -> bool:
    """Whether the ids of a document are the ids of its `WORDS`, one after the other."""
    settings = json.loads(tokenizer.to_str())
    normalizer, pre_tokenizer = settings["normalizer"], settings["pre_tokenizer"] or {}
    deciding = {key: value for key, value in pre_tokenizer.items() if key != "trim_offsets"}
    if (normalizer and normalizer["type"], deciding) not in BY_WORDS:
        return False
    return all(token["special"] for token in settings["added_tokens"])
