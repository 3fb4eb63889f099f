"""C1 to C6 and what of D9 is a vocabulary: shards, training and exports by a tokenizer that a user gives."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from corpora import corpus, write_text
from given_tokenizers import odd_texts, save
from launching import SCRIPT, start
from recipes import tiny, write
from rows import Judged, case
from rows_of_text import build
from run_bench import Bench, Done, apollo_ds, edit, ended, first_wrong
from safetensors.torch import load_file
from texts import make_texts, write_jsonl
from tiny_models import exported, write_separable
from transformers import AutoConfig, AutoTokenizer

from data_prep.files import read_json
from data_prep.indexed import open_split
from data_prep.tokenizer import BERT_SPECIAL

_WORDS = ["the", "cat", "dog", "bird", "fish", "sees", "hears", "likes", "finds", "today", "often", "here", "."]


def _holds_the_ids_of_encode(out: Path, given: Path, texts: list[str]) -> bool:
    """Whether the documents of both splits are what the tokenizer itself makes of the texts."""
    end = read_json(out / "manifest.json")["tokenizer"]["end_of_document"]
    encode = AutoTokenizer.from_pretrained(given, split_special_tokens=True).encode
    wanted = Counter((*encode(text, add_special_tokens=False), end) for text in texts)
    splits = [open_split(out / split) for split in ("train", "validation")]
    return Counter(tuple(split[i].tolist()) for split in splits for i in range(len(split))) == wanted


def _vocabulary(path: Path, *tokens: str, mark: bytes = b"") -> Path:
    path.write_bytes(mark + "\n".join([*tokens, ""]).encode())
    return path


def _refuses(folder: Path, tokenizer: Path, words: str) -> Judged:
    """Whether a build refuses the tokenizer in a sentence that has these words."""
    done = build(write_jsonl(folder / "a.jsonl", make_texts(10)), folder / "out", tokenizer=tokenizer.parent)
    return done, done.refused and words in done.told


def _equal_shards(bench: Bench, name: str, **config: Any) -> Judged:
    folder, texts = bench.empty(), odd_texts(300, seed=4)
    given = save(name, make_texts(30), folder / "given", **config)
    done = build(write_jsonl(folder / "a.jsonl", texts), folder / "out", tokenizer=given)
    return done, done.code == 0 and _holds_the_ids_of_encode(folder / "out", given, texts)


@case("C1", "a tokenizer.json whose ids leave some out, the greatest 70,000")
def _(bench: Bench) -> Judged:
    done, right = _equal_shards(bench, "ids with gaps")
    return done, right and read_json(bench.place / "case/out/manifest.json")["tokenizer"]["vocab_size"] == 70_001


@case("C1", "a vocab.txt with U+2028 and U+0085 as tokens: later ids are those of their lines")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    vocabulary = _vocabulary(folder / "vocab.txt", *BERT_SPECIAL, "\u2028", "\x85", *_WORDS)
    texts = [" ".join(_WORDS[number:]) for number in range(len(_WORDS) - 1)]
    done = build(write_jsonl(folder / "a.jsonl", texts), folder / "out", tokenizer=vocabulary)
    train = open_split(folder / "out" / "train")  # kept: what it gives is no longer there when it is gone
    lines = vocabulary.read_bytes().split(b"\n")
    return done, done.code == 0 and lines[train[0][-2]] == b"."


@case("C1", "two tokens of one id are refused")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    given = save("byte-level BPE", make_texts(30), folder / "given") / "tokenizer.json"
    edit(given, lambda settings: settings["model"]["vocab"].update(a=70))
    return _refuses(folder, given, "have the same id, 70")


@case("C1", "a vocab.txt, and a tokenizer.json, with one token twice")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    source = write_jsonl(folder / "a.jsonl", make_texts(10))
    given = save("byte-level BPE", make_texts(30), folder / "given") / "tokenizer.json"
    given.write_text(given.read_text().replace('"a":', '"zz":7,"zz":', 1))
    vocabulary = _vocabulary(folder / "vocab.txt", *BERT_SPECIAL, *_WORDS, "the")
    dones = (build(source, folder / "out", tokenizer=tokenizer) for tokenizer in (vocabulary, given.parent))
    return first_wrong(dones, lambda done: done.refused and ("twice" in done.told or "same token" in done.told))


@case("C2", "add_prefix_space: the ids are those of encode")
def _(bench: Bench) -> Judged:
    return _equal_shards(bench, "byte-level BPE with a prefix space")


@case("C2", "merges that are dropped by chance are refused")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    given = save("byte-level BPE", make_texts(30), folder / "given") / "tokenizer.json"
    edit(given, lambda settings: settings["model"].update(dropout=0.1))
    return _refuses(folder, given, "dropout")


@case("C3", "a folder with only config.json is no tokenizer")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "bert"}')
    done = build(write_jsonl(folder / "a.jsonl", make_texts(10)), folder / "out", tokenizer=folder / "model")
    return done, done.refused and "holds no tokenizer" in done.told


@case("C3", "finetune on an export whose tokenizer is gone")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    write_separable(folder / "task", train=8, dev=8)
    dones = []
    for family in ("bert", "gpt2"):
        model = folder / family
        shutil.copytree(exported(family), model)
        for file in model.glob("*tok*"):
            file.unlink()
        dones.append(
            apollo_ds("finetune", str(model), "--task", "sst2", "--data", str(folder / "task"), "--seeds", "1")
        )
    return first_wrong(dones, lambda done: done.refused and "holds no tokenizer" in done.told)


def _train(bench: Bench, family: str, data: Path, **changes: Any) -> Done:
    recipe = tiny(family, bench.place / "case" / "run", data=str(data), steps=10, save_every=5, **changes)
    file = write(recipe, bench.place / "case" / "recipe.yaml")
    return ended(start("bash", SCRIPT, file, "--ranks", "2"))


@case("C4", "a word has the id 0 and [PAD] another: the word is trained, and the export pads by the tokenizer's id")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    write_text(folder / "a.jsonl")
    vocabulary = _vocabulary(folder / "vocab.txt", *_WORDS, *BERT_SPECIAL)
    built = build(folder / "a.jsonl", folder / "text", tokenizer=vocabulary)
    size = len(_WORDS) + len(BERT_SPECIAL)
    model = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "vocab_size": size}
    family = "roberta_prelayernorm"
    shape = {"family": family, "max_position_embeddings": 32, **model}
    done = _train(bench, family, folder / "text", model=shape, method="scratch", weight_decay=0.0)
    dones = [built, done]
    for step in ("5", "10"):
        dones.append(apollo_ds("export", str(folder / "run"), str(folder / step), "--step", step))
    wrong, right = first_wrong(dones, lambda done: done.code == 0)
    if not right:
        return wrong, False
    name = "roberta_prelayernorm.embeddings.word_embeddings.weight"
    before, after = (load_file(folder / step / "model.safetensors")[name][0] for step in ("5", "10"))
    pads = AutoConfig.from_pretrained(folder / "10").pad_token_id
    return done, bool((before != after).all()) and pads == len(_WORDS) + BERT_SPECIAL.index("[PAD]")


def _is_whole(folder: Path, end: int | None) -> bool:
    """Whether an export says how long texts may be, what ends one, unless none is generated, and what pads."""
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    ids = tokenizer("the cat " * 99, truncation=True)["input_ids"]
    return (
        tokenizer.model_max_length == len(ids) == 32
        and end in (None, config.eos_token_id)
        and end in (None, tokenizer.eos_token_id)
        and config.pad_token_id == tokenizer.pad_token_id is not None
    )


@case(
    "C5", "exports of GPT-2 on byte-level BPE and on WordPiece, and of BERT: length, end and padding are in every file"
)
def _(bench: Bench) -> Judged:
    dones, whole = [], []
    for family, kind in (("gpt2", "gpt2"), ("gpt2", "bert"), ("bert", "bert")):
        folder, text = bench.empty(), corpus(kind)
        model = {**tiny(family, folder).plain()["model"], "vocab_size": text.vocab_size}
        dones.append(_train(bench, family, text.folder, model=model))
        dones.append(apollo_ds("export", str(folder / "run"), str(folder / "model")))
        end = text.manifest.tokenizer.end_of_document if family == "gpt2" else None
        whole.append(_is_whole(folder / "model", end))
    done, right = first_wrong(dones, lambda done: done.code == 0)
    return done, right and all(whole)


@case("C6", "a tokenizer's folder that has changed since the build is told of")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    source, given = write_jsonl(folder / "a.jsonl", make_texts(20)), save("bytes", make_texts(2), folder / "given")
    first = build(source, folder / "out", tokenizer=given)
    (given / "special_tokens_map.json").write_text('{"a": 1}')
    second = build(source, folder / "out", tokenizer=given)
    told = "has changed since"
    return second, (first.code, told in first.output, told in second.output) == (0, False, True)


@case("D9", "a vocab.txt that begins with a byte order mark is read without it")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    vocabulary = _vocabulary(folder / "vocab.txt", *BERT_SPECIAL, *_WORDS, mark=b"\xef\xbb\xbf")
    write_text(folder / "a.jsonl")
    done = build(folder / "a.jsonl", folder / "out", tokenizer=vocabulary)
    return done, done.code == 0 and read_json(folder / "out" / "manifest.json")["tokenizer"]["pad"] == 0
