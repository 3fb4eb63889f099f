"""Train a tokenizer on the sources, and read the facts about any tokenizer. `given_tokenizer` loads a user's own."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from data_prep.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
END_OF_TEXT = "<|endoftext|>"
TRAINING_BYTES = 256 << 20
RARE_CHARACTER = 1_000_000
SMALLEST_VOCABULARY = 300
LARGEST_VOCABULARY = 1 << 24

Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class TokenizerFacts:
    """The facts about a tokenizer that shards and training need. An id is None if there is no such token."""

    kind: str
    vocab_size: int
    end_of_document: int
    cls: int | None
    mask: int | None
    pad: int | None
    special: list[int]


def in_training_sample(text: str, total_bytes: int) -> bool:
    """Whether the tokenizer is trained on a document. From large sources, a hash chooses about 256 MiB of text."""
    return xxhash.xxh3_64_intdigest(text.encode()) * total_bytes < TRAINING_BYTES * 2**64


def train(kind: str, texts: Texts, vocab_size: int, folder: Path) -> None:
    """Train a tokenizer and save it where `AutoTokenizer.from_pretrained(folder)` finds it.

    Args:
        kind: `wordpiece` (lower-cased, as BERT's) or `bpe` (byte-level, as GPT-2's).
        texts: returns the documents to train on. It is called once for each pass over them.
        vocab_size: how many tokens to make, with the special ones.
        folder: where to write.
    """
    TRAINERS[kind](texts, vocab_size).save_pretrained(folder)


def facts(folder: Path, name: str) -> TokenizerFacts:
    """Read the facts about a saved tokenizer.

    Args:
        folder: where it was saved.
        name: the user's name for it, for messages.
    Raises:
        DataError: it has no token to end documents with, a special token is not in the vocabulary, an id is too large,
            or two tokens have the same id.
    """
    from transformers import PreTrainedTokenizerFast  # AutoTokenizer would import torch, for two seconds

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    kind = type(tokenizer.backend_tokenizer.model).__name__.lower()
    ends = ("sep_token", "eos_token") if kind == "wordpiece" else ("eos_token", "sep_token")
    end = next((name for name in ends if getattr(tokenizer, name) is not None), None)
    if end is None:
        raise DataError(f"{name}: has no {' or '.join(ends)} to end documents: name one in its tokenizer_config.json")
    strange = [token for token in tokenizer.all_special_tokens if tokenizer.convert_tokens_to_ids(token) is None]
    if strange:
        raise DataError(f"{name}: the special token {strange[0]!r} is not in its vocabulary: add it, or name another")
    return TokenizerFacts(
        kind=kind,
        vocab_size=vocabulary_size(tokenizer.get_vocab(), name),
        end_of_document=getattr(tokenizer, f"{end}_id"),
        cls=tokenizer.cls_token_id,
        mask=tokenizer.mask_token_id,
        pad=tokenizer.pad_token_id,
        special=sorted(tokenizer.all_special_ids),
    )


def token_of(folder: Path, number: int) -> str:
    """The token that has this id in a saved tokenizer."""
    return Tokenizer.from_file(str(folder / "tokenizer.json")).id_to_token(number) or ""


def vocabulary_size(vocabulary: dict[str, int], name: str) -> int:
    """The greatest id plus one. It is more than the number of tokens if ids have gaps.

    Args:
        vocabulary: the id of each token.
        name: the user's name for the tokenizer, for messages.
    Raises:
        DataError: two tokens have the same id, or an id is too large.
    """
    by_id: dict[int, str] = {}
    for token, i in vocabulary.items():
        if i in by_id:
            raise DataError(f"{name}: the tokens {by_id[i]!r} and {token!r} have the same id, {i}: give each its own")
        by_id[i] = token
    size = max(by_id) + 1
    if size > LARGEST_VOCABULARY:
        raise DataError(
            f"{name}: the token {by_id[size - 1]!r} has the id {size - 1:,}, and a model would need as many rows: give "
            f"ids below {LARGEST_VOCABULARY:,}"
        )
    return size


def _train_wordpiece(texts: Texts, vocab_size: int) -> "PreTrainedTokenizerBase":
    """Train BERT's WordPiece.

    The trainer numbers the `##` characters in the order of a hash map, which differs between processes, and breaks ties
    by these numbers. To make the result reproducible, all characters are named first, as if they were special tokens.
    """
    normalizer = normalizers.BertNormalizer()
    characters: Counter[str] = Counter()
    for text in texts():
        characters.update(normalizer.normalize_str(text))
    rarest = sum(characters.values()) // RARE_CHARACTER
    common = [c for c, count in characters.most_common(vocab_size // 4) if count > rarest]
    alphabet = sorted(c for c in common if not c.isspace())
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        special_tokens=[*BERT_SPECIAL, *alphabet, *(f"##{c}" for c in alphabet)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return bert_tokenizer(tokenizer.get_vocab())


def bert_tokenizer(vocabulary: dict[str, int]) -> "PreTrainedTokenizerBase":
    """BERT's tokenizer with the ids of a vocabulary. It is uncased if the vocabulary is."""
    from transformers import BertTokenizer

    uncased = all(token in BERT_SPECIAL or token == token.lower() for token in vocabulary)
    return BertTokenizer(vocab=vocabulary, do_lower_case=uncased)


def _train_bpe(texts: Texts, vocab_size: int) -> "PreTrainedTokenizerBase":
    from transformers import GPT2Tokenizer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TEXT],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges: Any = [tuple(pair) for pair in model["merges"]]  # its annotation says strings, but it cannot read these
    return GPT2Tokenizer(vocab=model["vocab"], merges=merges)


TRAINERS = {"wordpiece": _train_wordpiece, "bpe": _train_bpe}
