"""Tokenizers: trained on the sources, or given as a `vocab.txt` or a saved folder."""

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

Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class TokenizerFacts:
    """What shards and training must know of a tokenizer; an id is None where there is no such token."""

    kind: str
    vocab_size: int
    end_of_document: int
    cls: int | None
    mask: int | None
    pad: int | None
    special: list[int]


def in_training_sample(text: str, total_bytes: int) -> bool:
    """Whether a document is trained on: all are, or a share chosen by hash that makes up about 256 MiB."""
    return xxhash.xxh3_64_intdigest(text.encode()) * total_bytes < TRAINING_BYTES * 2**64


def train(kind: str, texts: Texts, vocab_size: int, folder: Path) -> None:
    """Train a tokenizer and save it where `AutoTokenizer.from_pretrained(folder)` finds it.

    Args:
        kind: `wordpiece` (lower-cased, as BERT's) or `bpe` (byte-level, as GPT-2's).
        texts: gives the documents to train on, at each call anew.
        vocab_size: how many tokens, special ones included.
        folder: where to write.
    """
    TRAINERS[kind](texts, vocab_size).save_pretrained(folder)


def load(path: str, folder: Path) -> None:
    """Save a given tokenizer where `AutoTokenizer.from_pretrained(folder)` finds it.

    Args:
        path: a `vocab.txt`, which gives BERT's tokenizer (uncased if the vocabulary is), or a saved folder.
        folder: where to write.
    Raises:
        DataError: no tokenizer there, or a vocabulary without BERT's special tokens.
    """
    from transformers import AutoTokenizer

    if Path(path).is_file():
        vocabulary = Path(path).read_text(encoding="utf-8").splitlines()
        missing = [token for token in BERT_SPECIAL if token not in vocabulary]
        if missing:
            raise DataError(f"{path}: lacks {', '.join(missing)}: add a line for each special token")
        _bert({token: i for i, token in enumerate(vocabulary)}).save_pretrained(folder)
    elif Path(path).is_dir():
        try:
            AutoTokenizer.from_pretrained(path, local_files_only=True).save_pretrained(folder)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: holds no tokenizer that transformers loads: save one there") from error
    else:
        raise DataError(f"{path}: no tokenizer there: give wordpiece, bpe, a vocab.txt or a saved folder")


def facts(folder: Path, name: str) -> TokenizerFacts:
    """Read what shards need of a saved tokenizer.

    Args:
        folder: where it was saved.
        name: what the user called it, for messages.
    Raises:
        DataError: neither WordPiece nor BPE, or special tokens missing.
    """
    from transformers import PreTrainedTokenizerFast  # AutoTokenizer would import torch, for two seconds

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    kind = type(tokenizer.backend_tokenizer.model).__name__.lower()
    if kind not in TRAINERS:
        raise DataError(f"{name}: a {kind} tokenizer: give a WordPiece or BPE one")
    needed = ["sep_token", "cls_token", "mask_token", "pad_token"] if kind == "wordpiece" else ["eos_token"]
    missing = [token for token in needed if getattr(tokenizer, token) is None]
    if missing:
        raise DataError(f"{name}: has no {', '.join(missing)}: add it to the tokenizer and save it again")
    return TokenizerFacts(
        kind=kind,
        vocab_size=len(tokenizer),
        end_of_document=getattr(tokenizer, f"{needed[0]}_id"),
        cls=tokenizer.cls_token_id,
        mask=tokenizer.mask_token_id,
        pad=tokenizer.pad_token_id,
        special=sorted(tokenizer.all_special_ids),
    )


def _train_wordpiece(texts: Texts, vocab_size: int) -> "PreTrainedTokenizerBase":
    """Train BERT's WordPiece.

    The trainer numbers `##` characters in the order of a hash map that differs between processes, and breaks
    ties by these numbers. Naming all characters first, as if special, makes the result reproducible.
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
    return _bert(tokenizer.get_vocab())


def _bert(vocabulary: dict[str, int]) -> "PreTrainedTokenizerBase":
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
    merges: Any = [tuple(pair) for pair in model["merges"]]  # annotated there as strings, which it cannot read
    return GPT2Tokenizer(vocab=model["vocab"], merges=merges)


TRAINERS = {"wordpiece": _train_wordpiece, "bpe": _train_bpe}
