"""Damage tokenizers in every way: each is refused in one sentence, or encodes as its own file says.

python tests/support/tokenizer_mutations.py --out benchmarks/results/tokenizer_mutations.md
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from given_tokenizers import GIVEN, odd_texts, save
from tally import Draw, Tried, table, try_all
from texts import make_texts
from tokenizers import Tokenizer

from data_prep import given_tokenizer, tokenizer
from data_prep.encode import Encoder, plain_text, token_dtype
from data_prep.errors import DataError

_NONSENSE = (
    None,
    True,
    -1,
    0,
    5,
    1e300,
    2**40,
    "",
    "x",
    "</s>",
    "\ud800",
    [],
    {},
    [[]],
    {"type": "ByteLevel"},
    "\u2028",
)
_WAYS = ("a byte", "a cut", "bytes put in", "a value", "a key gone", "a number", "the configuration")


def mutate(folder: Path, dice: random.Random) -> str:
    """Damage a folder's tokenizer.json, or its configuration; returns how."""
    way = dice.choice(_WAYS)
    path = folder / ("tokenizer_config.json" if way == "the configuration" else "tokenizer.json")
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content))
    if way == "a byte":
        content[place] ^= 1 << dice.randrange(8)
    elif way == "a cut":
        del content[place : place + dice.choice((1, 2, 100, 1 << 30))]
    elif way == "bytes put in":
        content[place:place] = dice.choice((b"\x00", b"\xef\xbb\xbf", b"[" * 5000, b"9" * 5000, b'"', b",{}", b"\xff"))
    else:
        content = bytearray(json.dumps(_changed(json.loads(content), way, dice)).encode(errors="surrogatepass"))
    path.write_bytes(content)
    return way


def _changed(settings: Any, way: str, dice: random.Random) -> Any:
    """Settings with one value, chosen evenly among their levels, that is another or gone."""
    inside = settings
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = dice.choice(keys)
        if isinstance(inside[key], dict | list) and inside[key] and dice.random() < 0.8:
            inside = inside[key]
            continue
        if way == "a key gone":
            del inside[key]
        elif way == "a number":
            inside[key] = dice.choice((-1, 0, 3, 10**6, 2**31, 2**32, 2**64, 0.5))
        else:
            inside[key] = dice.choice(_NONSENSE)
        return settings


def wrong_of(folder: Path, texts: list[str]) -> str | None:
    """What is wrong with the ids that a tokenizer gives, if it is taken.

    Raises:
        DataError: it is refused.
    """
    given_tokenizer.load(str(folder), folder / "loaded")
    facts = tokenizer.facts(folder / "loaded", str(folder))
    encoder = Encoder(folder / "loaded" / "tokenizer.json", facts.vocab_size, facts.end_of_document)
    own = plain_text(Tokenizer.from_file(str(folder / "tokenizer.json")))
    for text in texts:
        found = np.frombuffer(encoder.encode(text), token_dtype(facts.vocab_size)).tolist()
        if found != [*own.encode(text, add_special_tokens=False).ids, facts.end_of_document]:
            return f"other ids for {text!r}"
    return None


def draws(place: Path, count: int, seed: int) -> Iterator[Draw]:
    """Damaged tokenizers, one after the other."""
    dice = random.Random(seed)
    trained_on, texts = make_texts(100), odd_texts(20, seed)
    sound = {name: save(name, trained_on, place / "sound" / name) for name in GIVEN}
    for number in range(count):
        folder, name = place / str(number), dice.choice(list(sound))
        shutil.copytree(sound[name], folder)
        yield Draw(mutate(folder, dice), f"{name}, number {number}", partial(wrong_of, folder, texts))
        shutil.rmtree(folder)


def try_mutations(place: Path, count: int, seed: int) -> list[Tried]:
    """Try so many; prints those that go wrong."""
    return try_all(draws(place, count, seed), DataError, seconds=60)


def main() -> None:
    """Try mutations, print the table, and end with 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a page for the table")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="apollo-ds-mutations-") as place:
        tried = try_mutations(Path(place), options.mutations, options.seed)
    faults = sum(one.is_fault for one in tried)
    told = f"{len(tried)} mutations, {faults} of them wrong, in {time.monotonic() - began:.0f} s."
    rows = table(tried)
    print("\n".join([*rows, told]))
    if options.out:
        command = f"python tests/support/tokenizer_mutations.py --mutations {options.mutations} --seed {options.seed}"
        options.out.write_text(f"# Damaged tokenizers\n\n`{command}`: {told}\n\n" + "\n".join([*rows, ""]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
