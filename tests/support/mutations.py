"""A text with something done to it that happens to files, or that somebody might try."""

import random
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]

_STRANGE = [
    "\ufeff",
    "\0",
    "\t",
    "\r\n",
    "\u2028",
    "\u00a0",
    "\ud7ff",
    "é",
    "😀",
    "\x1b[31m",
    "\x85",
    "﻿",
    "'",
    '"',
    "#",
]
_NUMBERS = [
    "9" * 5000,
    "1e400",
    "-1e400",
    "NaN",
    ".nan",
    ".inf",
    "-0",
    "0x1f",
    "010",
    "1_0",
    "1e-400",
    "2" * 30,
    "1:30",
]
_NESTED = ["[" * 5000, "{a: " * 3000, '{"a":' * 5000, "[" * 60 + "]" * 60, "- " * 3000]


def _flipped(text: bytes, dice: random.Random) -> bytes:
    content = bytearray(text)
    for _ in range(dice.choice([1, 1, 2, 8])):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def _cut(text: bytes, dice: random.Random) -> bytes:
    start, end = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    return dice.choice([text[:end], text[start:], text[:start] + text[end:]])


def _twice(text: bytes, dice: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    line = dice.choice(lines)
    lines.insert(dice.randrange(len(lines) + 1), line)
    return b"".join(lines)


def _without_a_line(text: bytes, dice: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    del lines[dice.randrange(len(lines))]
    return b"".join(lines)


def _inserted(parts: list[str]) -> Mutation:
    def insert(text: bytes, dice: random.Random) -> bytes:
        place = dice.choice([0, len(text), dice.randrange(len(text))])
        return text[:place] + dice.choice(parts).encode() + text[place:]

    return insert


def _with_another_value(parts: list[str]) -> Mutation:
    """In the place of what stands after a colon."""

    def replace(text: bytes, dice: random.Random) -> bytes:
        lines = text.splitlines(keepends=True)
        number = dice.choice([n for n, line in enumerate(lines) if b":" in line])
        key, _, old = lines[number].partition(b":")
        lines[number] = key + b": " + dice.choice(parts).encode() + (b",\n" if old.rstrip().endswith(b",") else b"\n")
        return b"".join(lines)

    return replace


def _deeper(text: bytes, dice: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    number = dice.randrange(len(lines))
    lines[number] = dice.choice([b"  ", b"\t", b" "]) + lines[number]
    return b"".join(lines)


MUTATIONS: dict[str, Mutation] = {
    "bits flipped": _flipped,
    "cut": _cut,
    "a line twice": _twice,
    "a line gone": _without_a_line,
    "a line deeper": _deeper,
    "strange characters": _inserted(_STRANGE),
    "nested": _inserted(_NESTED),
    "nested as a value": _with_another_value(_NESTED),
    "numbers": _with_another_value(_NUMBERS),
}


def mutated(text: bytes, dice: random.Random) -> tuple[str, bytes]:
    """Mutate the text in a way that is drawn at random. Return the name of the mutation and its result."""
    name = dice.choice(list(MUTATIONS))
    return name, MUTATIONS[name](text, dice)
