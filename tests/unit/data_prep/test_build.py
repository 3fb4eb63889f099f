"""Shards hold the text, are the same however they were made, and bad input is told in a sentence."""

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given_tokenizers import save
from rich.console import Console
from texts import make_texts, write_jsonl
from transformers import AutoTokenizer

from data_prep import choose, files, parts, pool, readers, sources
from data_prep.build import build
from data_prep.encode import Encoder
from data_prep.errors import DataError
from data_prep.indexed import open_split
from data_prep.manifest import Manifest
from data_prep.options import Options
from data_prep.sources import parse

Make = Callable[..., Manifest]


SHARDS = ("train.bin", "train.idx", "validation.bin", "validation.idx")


def shards(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SHARDS}


def documents(folder: Path, split: str) -> list[list[int]]:
    opened = open_split(folder / split)
    return [opened[i].tolist() for i in range(len(opened))]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_round_trip(make: Make, texts: list[str], tokenizers: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """Every text is in one split, as the ids that the tokenizer gives and one end-of-document token."""
    manifest = make(tmp_path / "out", write_jsonl(tmp_path / "a.jsonl", texts), tokenizer=str(tokenizers[kind]))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    end = manifest.tokenizer.end_of_document
    train, validation = (documents(tmp_path / "out", split) for split in ("train", "validation"))
    expected = [[*tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in texts]
    assert sorted(train + validation) == sorted(expected)
    assert not {tuple(ids) for ids in train} & {tuple(ids) for ids in validation}
    assert train == [ids for ids in expected if ids in train]
    if kind == "bpe":
        assert {tokenizer.decode(ids[:-1]) for ids in train + validation} == set(texts)


def test_manifest(make: Make, texts: list[str], tmp_path: Path) -> None:
    manifest = make(tmp_path / "out", f"a={write_jsonl(tmp_path / 'a.jsonl', texts)}")
    train = documents(tmp_path / "out", "train")
    assert manifest.format == 3
    assert manifest.splits["train"].documents == len(train)
    assert manifest.splits["train"].tokens == sum(map(len, train))
    assert set(manifest.splits["train"].files) == {"train.bin", "train.idx"}
    assert manifest.splits["train"].hash == files.describe(tmp_path / "out" / "train.bin")["xxh3"]
    assert manifest.sources[0].location == str(tmp_path / "a.jsonl")
    assert (manifest.sources[0].name, manifest.sources[0].documents) == ("a", len(texts))
    assert manifest.sources[0].bytes == sum(len(text.encode()) for text in texts)
    counts = Counter(token for ids in train for token in ids)
    total = sum(counts.values())
    entropy = -sum(n / total * math.log(n / total) for n in counts.values())
    assert manifest.unigram_entropy == pytest.approx(entropy)
    assert np.memmap(tmp_path / "out" / "train.bin", np.uint16).tolist() == [token for ids in train for token in ids]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [*SHARDS, "cache", "manifest.json", "tokenizer"]
    )


def test_training_a_tokenizer(make: Make, texts: list[str], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    for kind in ("wordpiece", "bpe"):
        manifest = make(tmp_path / kind, source, tokenizer=kind, vocab_size=800)
        assert manifest.tokenizer.vocab_size == 800
        make(tmp_path / "again" / kind, source, tokenizer=kind, vocab_size=800)
        assert shards(tmp_path / kind) == shards(tmp_path / "again" / kind)


def test_a_stopped_run_goes_on_with_what_is_missing(
    make: Make, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 20_000)
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    make(tmp_path / "whole", source)
    encoded: list[str] = []

    def encode_some(job: parts.Job, part: sources.Part) -> None:
        if len(encoded) == 3:
            raise KeyboardInterrupt
        encoded.append(part.key)
        parts.encode_part(job, part)

    monkeypatch.setattr(pool, "encode_part", encode_some)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", source)
    damaged = next((tmp_path / "out" / "work").glob(f"parts-*/{encoded[0]}.bin"))
    damaged.write_bytes(b"\0" + damaged.read_bytes()[1:])
    again: list[str] = []
    monkeypatch.setattr(pool, "encode_part", lambda job, part: (again.append(part.key), parts.encode_part(job, part)))
    make(tmp_path / "out", source)
    assert set(encoded) & set(again) == {encoded[0]}
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")


def test_a_run_goes_on_after_a_bad_file_is_mended(
    make: Make, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = write_jsonl(tmp_path / "a.jsonl", texts[:100]), write_jsonl(tmp_path / "b.jsonl", texts[100:])
    make(tmp_path / "whole", good, bad)
    mended = bad.read_bytes()
    bad.write_bytes(mended[:5000] + b"\xff" + mended[5000:])
    with pytest.raises(DataError, match=r"b\.jsonl: line \d+ is not valid UTF-8"):
        make(tmp_path / "out", good, bad)
    bad.write_bytes(mended)
    again: list[str] = []
    monkeypatch.setattr(
        pool, "encode_part", lambda job, part: (again.append(part.source), parts.encode_part(job, part))
    )
    make(tmp_path / "out", good, bad)
    assert again == ["b"]
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")


def test_other_options_are_refused(make: Make, texts: list[str], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    source.write_bytes(source.read_bytes() + b"\xff\n")
    with pytest.raises(DataError, match="UTF-8"):
        make(tmp_path / "out", source)
    with pytest.raises(DataError, match="out: was begun with min_characters 1, not 7: run with the former, give"):
        make(tmp_path / "out", source, min_characters=7)
    told = r"begun with sources a=\S+/a.jsonl, not b=\S+/a.jsonl: .*, give another --out, or remove .*out$"
    with pytest.raises(DataError, match="UTF-8"):  # other sources may be tried until there are shards
        make(tmp_path / "out", f"b={source}")
    write_jsonl(source, texts)
    manifest = make(tmp_path / "out", source)
    with pytest.raises(DataError, match="was begun with vocab_size 1000, not 2000"):
        make(tmp_path / "out", source, vocab_size=2000)
    with pytest.raises(DataError, match=told):
        make(tmp_path / "out", f"b={source}")
    assert make(tmp_path / "out", source) == manifest


def test_a_second_run_at_the_same_time_is_refused(make: Make, texts: list[str], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    with pytest.MonkeyPatch.context() as patch:

        def build_again(job: parts.Job, part: sources.Part) -> None:
            make(tmp_path / "out", source)

        patch.setattr(pool, "encode_part", build_again)
        with pytest.raises(DataError, match="work: another run works there"):
            make(tmp_path / "out", source)


def test_cleaning_is_counted(make: Make, texts: list[str], tmp_path: Path) -> None:
    changed = texts[0].replace(".", "!", 1)
    given = [*texts[:50], "", " \n", "short", texts[0], changed, "e\u0301" * 300, "\u00e9" * 300]
    source = f"s={write_jsonl(tmp_path / 'a.jsonl', given)}"
    options = {"min_characters": 10, "deduplicate": "near", "normalize": "NFC"}
    described = make(tmp_path / "out", source, **options).sources[0]
    assert described.dropped == {"empty": 2, "short": 1, "duplicate": 2, "near_duplicate": 1}
    assert described.documents == 51
    kept = make(tmp_path / "kept", source).sources[0]
    assert kept.dropped == {"empty": 2, "duplicate": 0, "near_duplicate": 0}
    assert kept.documents == 55


def test_every_source_is_held_out_by_the_hash_of_its_texts(make: Make, texts: list[str], tmp_path: Path) -> None:
    """Neither the order of the texts nor other sources change which are held out; each source has one at least."""
    a, b = write_jsonl(tmp_path / "a.jsonl", texts[:100]), write_jsonl(tmp_path / "b.jsonl", texts[100:])
    make(tmp_path / "ab", a, b)
    held_out = documents(tmp_path / "ab", "validation")
    write_jsonl(tmp_path / "a.jsonl", texts[:100][::-1])
    make(tmp_path / "ba", b, a)
    assert sorted(documents(tmp_path / "ba", "validation")) == sorted(held_out)
    assert 8 < len(held_out) < 40
    assert make(tmp_path / "few", a, b, validation_fraction=0.0).splits["validation"].documents == 2


def test_of_a_text_file_little_longer_than_a_document_the_rest_is_held_out_and_told(
    tokenizers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "TEXT_DOCUMENT_BYTES", 5000)
    for seed in range(4):
        text = "\n".join(" ".join(make_texts(8, seed, words=100)).split())[:11_000]
        (tmp_path / "a.txt").write_text(text)
        options = Options(sources.parse([str(tmp_path / "a.txt")]), str(tokenizers["bpe"]))
        with (console := Console(width=200)).capture() as said:
            splits = build(options, tmp_path / str(seed), 1, console).splits
        share = splits["validation"].tokens / (splits["train"].tokens + splits["validation"].tokens)
        assert 0 < share < 0.5
        assert f"a: {share:.1%} of its tokens are held out, not 1.0%: its documents are few or long" in said.get()


def test_what_is_left_out_is_told(tokenizers: dict[str, Path], texts: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", texts[:5])
    (folder / "b.csv").touch()
    options = Options(sources.parse([str(folder)]), str(tokenizers["bpe"]))
    with (console := Console(width=200)).capture() as said:
        build(options, tmp_path / "out", 1, console)
    assert f"{folder}: 1 file was left out: {folder}/b.csv\n" in said.get()


def test_a_file_of_two_sources_is_refused(make: Make, texts: list[str], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", texts[:5])
    with pytest.raises(DataError, match=r"both read .*a\.jsonl, so its text would be written twice"):
        make(tmp_path / "out", f"a={source}", f"b={source}")


def test_weights(make: Make, tokenizers: dict[str, Path], tmp_path: Path) -> None:
    encoder = Encoder(tokenizers["wordpiece"] / "tokenizer.json", vocab_size=1000, end_of_document=3)
    texts = {name: make_texts(400, seed, words=20) for seed, name in enumerate("abc")}
    given = [f"{name}={write_jsonl(tmp_path / f'{name}.jsonl', texts[name])}" for name in texts]
    make(tmp_path / "even", *given)
    splits = make(tmp_path / "out", *given, weights={"b": 2.5, "c": 0.25}).splits
    held_out = documents(tmp_path / "even", "validation")
    assert documents(tmp_path / "out", "validation") == held_out
    written = Counter(map(tuple, documents(tmp_path / "out", "train")))
    copies, sizes = {}, Counter[str]()
    for name in texts:
        ids = [np.frombuffer(encoder.encode(text), np.uint16).tolist() for text in texts[name]]
        copies[name] = [written[tuple(i)] for i in ids if i not in held_out]
        for text, i in zip(texts[name], ids, strict=True):
            split = "validation" if i in held_out else "train"
            sizes[split] += len(text.encode()) * (1 if i in held_out else written[tuple(i)])
    assert {name: split.bytes for name, split in splits.items()} == sizes
    assert set(copies["a"]) == {1}
    assert set(copies["b"]) == {2, 3} and np.mean(copies["b"]) == pytest.approx(2.5, abs=0.1)
    assert set(copies["c"]) == {0, 1} and np.mean(copies["c"]) == pytest.approx(0.25, abs=0.1)


def test_equal_texts_are_on_the_same_side() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(2**64, size=(2000, 2), dtype=np.uint64)
    hashes[1000:] = hashes[:1000]
    lengths = np.full(2000, 7, dtype=np.int32)
    choice = choose.choose(hashes, lengths, np.arange(2000) // 1000, [1.0, 1.0], 0.0, deduplicate=False, signatures={})
    assert (choice.held_out[:1000] == choice.held_out[1000:]).all()
    assert choice.held_out.sum() == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 100}, "--vocab-size 100: must be at least 300"),
        ({"validation_fraction": 1.0}, "--validation-fraction 1.0: must be at least 0 and below 1"),
        ({"weights": {"b": 2}}, "--weight b: there is no source of this name: the sources are a"),
        ({"weights": {"a": 0}}, "--weight a=0: must be above 0 and below 1000"),
        ({"text_column": "body"}, "line 1 has no 'body': choose --text-column among text"),
        ({"tokenizer": "none"}, "--tokenizer none: there is no such file or folder; give wordpiece or bpe"),
        ({"min_characters": 10_000}, "every document is shorter than 10000 characters: leave it out"),
    ],
)
def test_bad_options(make: Make, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(3))
    with pytest.raises(DataError, match=message):
        make(tmp_path / "out", source, **options)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_mistake_told_before_the_work_may_be_corrected(make: Make, texts: list[str], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    for mistake in ({"text_column": "body"}, {"tokenizer": "none"}):
        with pytest.raises(DataError):
            make(tmp_path / "out", source, **mistake)
    assert make(tmp_path / "out", source).splits["train"].documents > 0


def test_one_document_is_too_few(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A single document.")
    with pytest.raises(DataError, match="too few documents to train on some and hold out others"):
        make(tmp_path / "out", tmp_path / "a.txt")


def test_defaults_are_those_of_the_command_line() -> None:
    options = Options(sources=sources.parse(["docs"]), tokenizer="bpe")
    assert (options.vocab_size, options.validation_fraction, options.text_column) == (30522, 0.01, "text")


def test_a_tokenizer_that_changed_is_told_of(
    make: Make, texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = save("byte-level BPE", texts, tmp_path / "given")
    options = Options(parse([str(write_jsonl(tmp_path / "a.jsonl", texts))]), tokenizer=str(given))
    told = "the tokenizer .* has changed since .*out was made: remove .*out to make it again"
    for content, is_told in (('{"a": 1}', False), ('{"a": 2}', True)):
        (given / "special_tokens_map.json").write_text(content)
        for _ in range(2):
            build(options, tmp_path / "out", workers=1, console=Console())
            assert bool(re.search(told, capsys.readouterr().out.replace("\n", ""))) == is_told
