"""Damage text files at random and build: shards hold what another reader finds there, or one sentence says why not.

python tests/support/text_mutations.py --out benchmarks/results/text_mutations.md
"""

import argparse
import gzip
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
from rich.console import Console
from texts import make_texts, write_parquet
from tokenizers import Tokenizer

from data_prep import tokenizer
from data_prep.build import build
from data_prep.errors import DataError
from data_prep.options import Options
from data_prep.sources import parse

READ, NAMED, SOUND, OTHER, FAULT = OUTCOMES = (
    "read as it is",
    "named in one sentence",
    "REFUSED THOUGH SOUND",
    "OTHER DOCUMENTS SILENTLY",
    "NO SENTENCE",
)
_ROWS = 24
_INSERTED = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"\n",
    b"\r",
    b"\x0b",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\u0000",
    b'"',
    b"\\",
    b"}",
    b"{",
    b"," * 3,
    b"[" * 5000,
    b'{"a":' * 5000,
    b"9" * 5000,
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"null",
    b'"text": ',
    b'"text": 5, ',
    b'"text": "twice", ',
    b'\n{"text": null}\n',
    b'\n{"text": ["a list"], "title": "t"}\n',
    b'\n{"title": "a row without text"}\n',
    b'\n{"text": "<|endoftext|> [SEP]"}\n',
    b'\n{"text": "ends", "n": ' + b"9" * 5000 + b"}\n",
    b'\n{"text": "ends", "n": ' + b"[" * 5000 + b"]" * 5000 + b"}\n",
)
_SHARES = {"a.jsonl": 0.7, "a.jsonl.gz": 0.1, "a.parquet": 0.2}
"""Of all mutations, by the file that is damaged."""


@dataclass(frozen=True)
class Mutation:
    """A damaged file, and what came of building it."""

    file: str
    kind: str
    outcome: str
    said: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}: {self.outcome}: {self.said}"


def _flip(content: bytearray, place: int, dice: random.Random) -> None:
    content[place] ^= 1 << dice.randrange(8)


def _cut(content: bytearray, place: int, dice: random.Random) -> None:
    del content[place : place + dice.choice([1, 7, 300, len(content)])]


def _swap(content: bytearray, place: int, dice: random.Random) -> None:
    other = dice.randrange(len(content))
    content[place], content[other] = content[other], content[place]


def _repeat(content: bytearray, place: int, dice: random.Random) -> None:
    content[place:place] = content[place : place + dice.choice([1, 7, 300])]


def _insert(content: bytearray, place: int, dice: random.Random) -> None:
    starts = [0, *(i + 1 for i, byte in enumerate(content[:-1]) if byte == ord("\n"))]
    place = dice.choice([place, dice.choice(starts)])
    content[place:place] = dice.choice(_INSERTED)


_MUTATIONS = {"flip a bit": _flip, "cut": _cut, "swap two bytes": _swap, "repeat": _repeat, "insert": _insert}


class Bench:
    """A folder with sound files and a tokenizer whose tokens are bytes of text, and builds of damaged files there."""

    def __init__(self, place: Path) -> None:
        self.place = place
        texts = make_texts(_ROWS, words=20)
        tokenizer.train("bpe", lambda: iter(texts), 300, place / "tokenizer")
        rows = [json.dumps({"id": i, "text": text}, ensure_ascii=i % 2 == 0) + "\n" for i, text in enumerate(texts)]
        lines = "".join(rows).encode()
        self.sound = {
            "a.jsonl": lines,
            "a.jsonl.gz": gzip.compress(lines, mtime=0),
            "a.parquet": write_parquet(place / "sound.parquet", texts, write_page_checksum=True).read_bytes(),
        }

    def trial(self, name: str, dice: random.Random) -> Mutation:
        """Damage a file once to three times, and build it."""
        content = bytearray(self.sound[name])
        kinds = dice.choices(list(_MUTATIONS), k=dice.choice([1, 1, 1, 2, 3]))
        for kind in kinds:
            if content:
                _MUTATIONS[kind](content, dice.randrange(len(content)), dice)
        (self.place / name).write_bytes(content)
        return Mutation(name, kinds[0] if len(kinds) == 1 else "several", *self._outcome(self.place / name))

    def _outcome(self, path: Path) -> tuple[str, str]:
        try:
            wanted: Counter[str] | None = Counter(text for text in _READERS[path.name](path) if text.strip())
        except Exception:  # whatever the other readers raise
            wanted = None
        try:
            found = self._build(path)
        except DataError as error:
            is_sound = wanted is not None and len(wanted) > 1 and "twice" not in str(error)
            return SOUND if is_sound else NAMED if str(error).count("\n") == 0 else FAULT, str(error)
        except Exception as error:
            return FAULT, f"{type(error).__name__}: {error}"
        return (READ if found == wanted else OTHER), ""

    def _build(self, path: Path) -> Counter[str]:
        """The documents of both splits."""
        from data_prep.indexed import open_split  # takes seconds

        out = self.place / "out"
        shutil.rmtree(out, ignore_errors=True)
        options = Options(parse([str(path)]), str(self.place / "tokenizer"), validation_fraction=0.1)
        build(options, out, 1, Console(quiet=True))
        decode = Tokenizer.from_file(str(out / "tokenizer" / "tokenizer.json")).decode
        splits = [open_split(out / name) for name in ("train", "validation")]
        return Counter(decode(split[i][:-1].tolist()) for split in splits for i in range(len(split)))


def _lines(path: Path, content: bytes | None = None) -> list[str]:
    """The texts of JSON lines: what `json.loads` gives for each, with the marks of joined files left out."""
    lines = (path.read_bytes() if content is None else content).split(b"\n")
    rows = [json.loads(line.removeprefix(b"\xef\xbb\xbf"), parse_int=float) for line in lines if not _is_blank(line)]
    texts = [row["text"] or "" for row in rows]
    return [text.encode(errors="replace").decode() for text in texts]


def _is_blank(line: bytes) -> bool:
    return not line.removeprefix(b"\xef\xbb\xbf").strip()


def _packed(path: Path) -> list[str]:
    return _lines(path, gzip.decompress(path.read_bytes()))


def _column(path: Path) -> list[str]:
    table = pyarrow.parquet.read_table(path, columns=["text"], page_checksum_verification=True)
    return [text or "" for text in table.column("text").to_pylist()]


_READERS: dict[str, Callable[[Path], list[str]]] = {"a.jsonl": _lines, "a.jsonl.gz": _packed, "a.parquet": _column}


def mutate(place: Path, count: int, seed: int) -> list[Mutation]:
    """Try so many mutations; prints those that go wrong."""
    dice = random.Random(seed)
    bench = Bench(place)
    mutations = []
    for name, share in _SHARES.items():
        for _ in range(round(count * share)):
            mutations.append(bench.trial(name, dice))
            if is_wrong(mutations[-1]):
                print(mutations[-1], flush=True)
    return mutations


def is_wrong(mutation: Mutation) -> bool:
    """Whether the result is one that must never happen."""
    return mutation.outcome not in (READ, NAMED)


def table(mutations: list[Mutation], key: Callable[[Mutation], str]) -> list[str]:
    """Markdown: how many mutations came to what."""
    counts: dict[str, Counter[str]] = {}
    for one in mutations:
        counts.setdefault(key(one), Counter())[one.outcome] += 1
    rows = [f"| | mutations | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * (len(OUTCOMES) + 1)}"]
    for name, counted in sorted(counts.items()):
        rows.append(f"| {name} | {counted.total()} | {' | '.join(str(counted[outcome]) for outcome in OUTCOMES)} |")
    return rows


def main() -> None:
    """Try mutations, print the tables, and end with 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a page for the tables")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="apollo-prep-mutations-") as place:
        mutations = mutate(Path(place), options.mutations, options.seed)
    wrong = sum(map(is_wrong, mutations))
    told = f"{len(mutations)} mutations, {wrong} of them wrong, in {time.monotonic() - began:.0f} s."
    rows = [*table(mutations, lambda one: f"`{one.file}`"), "", *table(mutations, lambda one: one.kind)]
    print("\n".join([*rows, told]))
    if options.out:
        command = f"python tests/support/text_mutations.py --mutations {options.mutations} --seed {options.seed}"
        options.out.write_text(f"# Damaged text files\n\n`{command}`: {told}\n\n" + "\n".join([*rows, ""]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
