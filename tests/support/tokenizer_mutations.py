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
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from given_tokenizers import GIVEN, odd_texts, save
from texts import make_texts
from tokenizers import Tokenizer

from data_prep import given_tokenizer, tokenizer
from data_prep.encode import Encoder, plain_text, token_dtype
from data_prep.errors import DataError

REFUSED, RIGHT, WRONG, TRACEBACK = OUTCOMES = ("refused in one sentence", "encodes rightly", "OTHER IDS", "TRACEBACK")
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


def outcome(folder: Path, texts: list[str]) -> tuple[str, str]:
    """What comes of a tokenizer, and what was said."""
    try:
        given_tokenizer.load(str(folder), folder / "loaded")
        facts = tokenizer.facts(folder / "loaded", str(folder))
        encoder = Encoder(folder / "loaded" / "tokenizer.json", facts.vocab_size, facts.end_of_document)
        found = [np.frombuffer(encoder.encode(text), token_dtype(facts.vocab_size)).tolist() for text in texts]
    except DataError as error:
        return (REFUSED, str(error)) if "\n" not in str(error) else (TRACEBACK, f"several lines: {error}")
    except BaseException:
        return TRACEBACK, traceback.format_exc()
    own = plain_text(Tokenizer.from_file(str(folder / "tokenizer.json")))
    wanted = [[*own.encode(text, add_special_tokens=False).ids, facts.end_of_document] for text in texts]
    return (RIGHT, "") if found == wanted else (WRONG, f"{folder}")


def try_mutations(count: int, seed: int) -> dict[str, Counter[str]]:
    """How many came to what, by the way of damage; prints those that go wrong."""
    dice = random.Random(seed)
    counts: dict[str, Counter[str]] = {way: Counter() for way in _WAYS}
    trained_on, texts = make_texts(100), odd_texts(20, seed)
    with tempfile.TemporaryDirectory(prefix="apollo-ds-mutations-") as place:
        sound = {name: save(name, trained_on, Path(place) / "sound" / name) for name in GIVEN}
        for number in range(count):
            folder = Path(place) / str(number)
            shutil.copytree(sound[dice.choice(list(sound))], folder)
            way = mutate(folder, dice)
            came_to, said = outcome(folder, texts)
            counts[way][came_to] += 1
            if came_to in (WRONG, TRACEBACK):
                print(f"{number}: {way}: {came_to}: {said}", flush=True)
            shutil.rmtree(folder)
    return counts


def main() -> None:
    """Try mutations, print the table, and end with 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a page for the table")
    options = parser.parse_args()
    began = time.monotonic()
    counts = try_mutations(options.mutations, options.seed)
    wrong = sum(counted[one] for counted in counts.values() for one in (WRONG, TRACEBACK))
    told = f"{options.mutations} mutations, {wrong} of them wrong, in {time.monotonic() - began:.0f} s."
    rows = [f"| what is changed | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * len(OUTCOMES)}"]
    rows += [f"| {way} | {' | '.join(str(counted[one]) for one in OUTCOMES)} |" for way, counted in counts.items()]
    print("\n".join([*rows, told]))
    if options.out:
        command = f"python tests/support/tokenizer_mutations.py --mutations {options.mutations} --seed {options.seed}"
        options.out.write_text(f"# Damaged tokenizers\n\n`{command}`: {told}\n\n" + "\n".join([*rows, ""]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
