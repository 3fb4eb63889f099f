"""Count the bytes of text that tokens stand for. Only a byte-level BPE tells that exactly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import pre_tokenizers

from data_prep.scan import Tally

_NOT_TEXT = -1


class TextBytes:
    """The number of UTF-8 bytes of each token of a tokenizer, if it is a byte-level BPE that does not change text."""

    def __init__(self, tokenizer_json: Path, vocab_size: int) -> None:
        settings = json.loads(tokenizer_json.read_bytes())
        self.sizes = _sizes(settings, vocab_size) if _keeps_bytes(settings) else None

    def of(self, tally: Tally) -> int | None:
        """The number of bytes of the documents' text. None if the exact number is not known.

        A special token at the start or end of a document stands for no text. Elsewhere the text may have spelled it
        out, so that the number is not known.
        """
        if self.sizes is None:
            return None
        others = self.sizes == _NOT_TEXT
        if (tally.counts > tally.edges)[others].any():
            return None
        return int((tally.counts * self.sizes)[~others].sum())


def _keeps_bytes(settings: dict[str, Any]) -> bool:
    """Whether the joined tokens of a text are exactly its bytes."""
    model, before = settings["model"], settings["pre_tokenizer"] or {}
    steps = before.get("pretokenizers", [before])
    return (
        model["type"] == "BPE"
        and not any(model.get(key) for key in ("byte_fallback", "continuing_subword_prefix", "end_of_word_suffix"))
        and settings["normalizer"] is None
        and any(step.get("type") == "ByteLevel" for step in steps)
        and all(map(_cuts_only, steps))
        and set(pre_tokenizers.ByteLevel.alphabet()) <= model["vocab"].keys()
    )


def _cuts_only(step: dict[str, Any]) -> bool:
    """Whether a step of the pre-tokenizer neither removes nor adds characters."""
    match step.get("type"):
        case "ByteLevel":
            return not step["add_prefix_space"]
        case "Split":
            return step["behavior"] != "Removed"
        case kind:
            return kind == "Digits"


def _sizes(settings: dict[str, Any], vocab_size: int) -> npt.NDArray[np.int64]:
    """The number of bytes of each token, shape (vocab,)."""
    sizes = np.full(vocab_size, _NOT_TEXT, np.int64)
    for token, i in settings["model"]["vocab"].items():
        sizes[i] = len(token)  # one character for each byte
    for token in settings["added_tokens"]:
        is_text = not (token["special"] or token["lstrip"] or token["rstrip"])
        sizes[token["id"]] = len(token["content"].encode()) if is_text else _NOT_TEXT
    return sizes
