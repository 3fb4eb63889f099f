"""Encode with the fastokens library, which gives the ids of byte-level BPE several times as fast."""

from array import array
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from data_prep.encode import Encoder
from data_prep.errors import DataError

Library = Literal["tokenizers", "fastokens"]
"""The library that gives the ids. Both give the same ids, but a build that one began cannot go on with the other."""
COMPARED = 100
"""One document in this many is encoded by both libraries, to compare them."""


def check_library(library: Library, tokenizer: str) -> None:
    """Check that a library can be used, before any work is done.

    Raises:
        DataError: the library is not installed, or cannot encode for this tokenizer.
    """
    if library == "fastokens" and tokenizer == "wordpiece":
        raise _not_for(tokenizer)
    if library == "fastokens" and find_spec("fastokens") is None:
        raise DataError("--encoder fastokens: the library is not installed: run `pip install 'apollo_ds[fast]'`")


class FastEncoder:
    """Encodes to the same ids as `Encoder`. One document in `COMPARED` is encoded by both, and compared.

    Raises:
        DataError: the tokenizer is not byte-level BPE with GPT-2's settings, or the library cannot load it.
    """

    def __init__(self, tokenizer_json: Path, vocab_size: int, end_of_document: int) -> None:
        import fastokens  # an optional package

        self.exact = Encoder(tokenizer_json, vocab_size, end_of_document)
        if not self.exact.by_words or type(self.exact.tokenizer.model).__name__ != "BPE":
            raise _not_for("this tokenizer")
        try:
            self.library = fastokens.Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:  # the library raises no narrower class
            sentence = f"--encoder fastokens: cannot load this tokenizer ({error}): leave the option out"
            raise DataError(sentence) from error
        self.documents = 0

    def encode(self, text: str) -> bytes:
        """The ids of a document, as the bytes of an array of type `token_dtype`.

        Raises:
            DataError: fastokens and tokenizers give different ids.
        """
        ids = array(self.exact.words.typecode, self.library.encode_ordinary(text).ids).tobytes() + self.exact.end
        if self.documents % COMPARED == 0 and ids != self.exact.encode(text):
            raise DataError(
                f"fastokens and tokenizers give different ids for {text[:40]!r}: give another --out, and leave out "
                "--encoder fastokens"
            )
        self.documents += 1
        return ids


def _not_for(tokenizer: str) -> DataError:
    return DataError(
        f"--encoder fastokens: {tokenizer} is not byte-level BPE with GPT-2's settings: leave the option out"
    )
