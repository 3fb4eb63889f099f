"""Tokenizers as people have them, made small from a few texts, and odd texts to try them with."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_PIECES = (
    "'s", "'ll", " ", "  ", "\n", "\n\n", "\r\n", ". ", ", ", "! ", '."', ",", "[SEP]", "<|endoftext|>", "</s>", "<s>",
    "##ing", "word", "the", " the ", "Cat,dog.", "antidisestablishmentarianism", "1,234.5", "café", "e\u0301", "ﬁ",
)  # fmt: skip
_ODD = "\t\r\v\f\x00\x1c\x1f\x85\xa0\u1680\u180e\u2003\u200b\u2028\u3000\ufeff\u0301\u0327\u2019'\"-_@#$%&*()[]{}<>|/\\"
_LETTERS = "aAbzZéÉßİΣς09²½中文日本한글עב😀ﬁǅ\u0131\u03c3\u0627\U0001f469\u200d\U0001f467\U000e0001"


def odd_texts(count: int, seed: int) -> list[str]:
    """Random texts of words, punctuation, white space of every sort, many scripts, and any character there is."""
    dice = random.Random(seed)

    def piece() -> str:
        kind = dice.randrange(6)
        if kind < 3:
            return dice.choice(_PIECES)
        if kind == 3:
            return dice.choice(_ODD)
        if kind == 4:
            return dice.choice(_LETTERS)
        code = dice.randrange(0x110000 - 0x800)
        return chr(code if code < 0xD800 else code + 0x800)

    return ["x" + "".join(piece() for _ in range(dice.randrange(30))) for _ in range(count)]


def _byte_level(texts: list[str], prefix: bool, **model: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained_bpe(tokenizer, texts, ["<s>", "</s>", "<pad>", "<mask>"])


def _trained_bpe(tokenizer: Tokenizer, texts: list[str], special: list[str], **options: Any) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, show_progress=False, **{"initial_alphabet": alphabet, **options}
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _roberta(texts: list[str]) -> Tokenizer:
    tokenizer = _byte_level(texts, prefix=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def _ignoring_merges(texts: list[str]) -> Tokenizer:
    """Make a tokenizer like Llama 3's: it cuts text by a pattern, and takes whole words before it merges."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    pattern = Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    split = pre_tokenizers.Split(pattern, "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return _trained_bpe(tokenizer, texts, ["<s>", "</s>"])


def _unigram(texts: list[str]) -> Tokenizer:
    """Make a tokenizer as sentencepiece makes T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _bytes(texts: list[str]) -> Tokenizer:
    """Make a tokenizer like ByT5's: three special tokens, then one for each byte."""
    by_byte = {_shown(byte): byte + 3 for byte in range(256)}
    assert set(by_byte) == set(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<pad>": 0, "</s>": 1, "<unk>": 2, **by_byte}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return tokenizer


def _shown(byte: int) -> str:
    """The character that stands for a byte in a byte-level vocabulary."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    return chr(byte if byte in plain else 256 + sorted(set(range(256)) - plain).index(byte))


def _llama(texts: list[str]) -> Tokenizer:
    """Make a tokenizer like Llama 2's: it does not cut text into pieces, and uses bytes for unknown characters."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [word for text in texts for word in text.split()]
    _trained_bpe(tokenizer, words, special, initial_alphabet=[])
    settings = json.loads(tokenizer.to_str())
    settings["added_tokens"] = settings["added_tokens"][:3]  # its bytes are tokens like others
    return Tokenizer.from_str(json.dumps(settings))


def _cased_wordpiece(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _with_gaps(texts: list[str]) -> Tokenizer:
    """Ids that leave some out: the greatest is above the number of tokens, and above what two bytes hold."""
    settings = json.loads(_byte_level(texts, prefix=False).to_str())
    vocabulary = settings["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary[last] = 70_000
    return Tokenizer.from_str(json.dumps(settings))


_BERT = {"sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]", "mask_token": "[MASK]", "unk_token": "[UNK]"}
_ROBERTA = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>", "mask_token": "<mask>"}
_T5 = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
_LLAMA = {"eos_token": "</s>", "bos_token": "<s>"}

GIVEN: dict[str, tuple[Callable[[list[str]], Tokenizer], dict[str, str]]] = {
    "byte-level BPE": (lambda texts: _byte_level(texts, prefix=False), _ROBERTA),
    "byte-level BPE with a prefix space": (_roberta, _ROBERTA),
    "BPE that ignores merges": (_ignoring_merges, _LLAMA),
    "cased WordPiece": (_cased_wordpiece, _BERT),
    "Unigram": (_unigram, _T5),
    "bytes": (_bytes, _T5),
    "BPE of whole texts": (_llama, _LLAMA),
    "ids with gaps": (_with_gaps, _ROBERTA),
}
"""How each is made, and which tokens its configuration names."""


def save(name: str, texts: list[str], folder: Path, **config: Any) -> Path:
    """Save one of them as it would come from the hub; returns the folder."""
    make, special = GIVEN[name]
    folder.mkdir(parents=True, exist_ok=True)
    make(texts).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **special, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
