"""Nonsense in recipes and in DeepSpeed's files: what `apollo-ds plan` makes of it, and `train` of what plan takes.

python tests/support/nonsense.py --out benchmarks/results/nonsense.md
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from forking import in_child, workplace
from mutations import mutated
from pydantic import BaseModel
from recipes import tiny
from tally import REFUSED, TAKEN, Draw, Tried, table, try_all

from apollo_ds.__main__ import main as apollo_ds
from apollo_ds.config.deepspeed_keys import REFUSED as REFUSED_KEYS
from apollo_ds.config.deepspeed_keys import DeepSpeedKeys
from apollo_ds.config.keys import sections
from apollo_ds.config.load import load_recipe
from apollo_ds.config.ready import check_ready
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.planning.plan import plan

_BOMB = "{" + ", ".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]" for n in range(9)) + "}"
_TEXTS = [
    *("", "null", "~", "true", "no", "auto", "none", "maybe", "2024-11-26", "1e3", "0", "1", "-1", "2", "3", "0.5"),
    *("1.5", "-0.5", "7", "1000000", "1e-30", "1e300", "1e400", "-1e400", ".inf", "-.inf", ".nan", "9" * 5000),
    *("18446744073709551616", "9007199254740993", "0x1F", "010", "1_000", "1:30", "[]", "{}", "[1]", "[1, 3, 6]"),
    *("[0.5]", "[0.25, 0.5]", "[true]", "[null]", "[.nan, 0.5]", "{a: 1}", "{1: 2}", "{a: 1, a: 2}", "{name: apollo}"),
    *("[" * 1000, "[" * 60 + "]" * 60, "&a [*a]", _BOMB, "'quoted'", "x" * 300, "/" * 5000, "a/" * 3000, "é😀"),
    *("\ud800", "\x1b[31m", "!!python/object:os.system x", "!!binary aGk=", "!!set {a}", "2 # note", "a: b", "*", "%"),
]
_STATED = {"seq_len": 32, "eval_samples": 16}
_LARGEST_TRAINED = 200_000
"""Parameters, times the samples of a run, of what is trained to see whether it does: a run takes seconds."""


def keys() -> list[tuple[str, tuple[str, ...]]]:
    """Each key that a recipe may have, and the overrides that make it one."""
    found = []
    for section in sections():
        kind, _, name = section.title.rpartition(" ")
        before = {"method": (f"method={name}",), "model of the family": (f"model.family={name}",)}.get(kind, ())
        found += [(key.name, before) for key in section.keys]
    return found + [(f"deepspeed.{key}", ()) for key in [*_nested(DeepSpeedKeys), *REFUSED_KEYS]]


def _nested(kind: type[BaseModel], within: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"{within}{name}"
        inside = next((part for part in (field.annotation, *_parts(field.annotation)) if _is_keys(part)), None)
        if inside:
            yield from _nested(inside, f"{within}{name}.")


def _parts(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())


def _is_keys(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


class Nonsense:
    """Draws over a tiny recipe, whose files are in a folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.dice = random.Random(seed)
        self.bases = {family: tiny(family, folder / "run").plain() for family in ("gpt2", "bert")}
        self.files = {family: folder / f"{family}.yaml" for family in self.bases}
        for family, values in self.bases.items():
            stated = {key: value for key, value in values.items() if Recipe.model_fields[key].is_required()}
            self.files[family].write_text(yaml.safe_dump({**stated, **_STATED, "deepspeed": values["deepspeed"]}))

    def values(self, count: int) -> Iterator[Draw]:
        """Nonsense values of keys, on the command line."""
        known = keys()
        for _ in range(count):
            key, before = self.dice.choice(known)
            given = [f"{key}={self.dice.choice(_TEXTS)}"]
            if self.dice.random() < 0.2:
                given.append(f"{self.dice.choice(known)[0]}={self.dice.choice(_TEXTS)}")
            family = self.dice.choice(list(self.files))
            kind = key.partition(".")[0] if "." in key else "the recipe's own"
            words = [*before, *given]
            yield Draw(f"{kind}: a value", f"{family} {words!r}", partial(planned, self.files[family], words))

    def recipes(self, count: int) -> Iterator[Draw]:
        """Recipes with something done to their text."""
        for number in range(count):
            family = self.dice.choice(list(self.files))
            done, text = mutated(self.files[family].read_bytes(), self.dice)
            path = self.folder / f"mutated-{number}.yaml"
            yield Draw(f"recipe: {done}", str(path), partial(_planned_of, path, text, path, ()))

    def deepspeed_files(self, count: int) -> Iterator[Draw]:
        """DeepSpeed files with something done to their text."""
        original = json.dumps(self.bases["gpt2"]["deepspeed"], indent=2).encode()
        for number in range(count):
            done, text = mutated(original, self.dice)
            path = self.folder / f"mutated-{number}.json"
            act = partial(_planned_of, path, text, self.files["gpt2"], (f"deepspeed={path}",))
            yield Draw(f"DeepSpeed's file: {done}", str(path), act)


def _planned_of(path: Path, text: bytes, recipe: Path, words: tuple[str, ...]) -> str | None:
    path.write_bytes(text)
    return planned(recipe, list(words))


def planned(path: Path, words: list[str]) -> str | None:
    """What is wrong with what `plan` takes: a number that is none, in the recipe or in the plan."""
    recipe = load_recipe(path, words)
    if no_number := _no_number(recipe.plain()) or _no_number(plan(recipe)):
        return f"holds {no_number}"
    check_ready(recipe, ranks=1)
    return None


def _no_number(values: Any, key: str = "") -> str | None:
    if isinstance(values, float) and not math.isfinite(values):
        return f"{key} {values}"
    inside = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    return next((found for name, value in inside if (found := _no_number(value, f"{key}.{name}"))), None)


def try_nonsense(folder: Path, values: int, texts: int, seed: int) -> list[Tried]:
    """Try so many values of keys, and so many texts of recipes and of DeepSpeed's files."""
    nonsense = Nonsense(folder, seed)
    draws = (
        nonsense.values(values),
        nonsense.recipes(texts * 2 // 3),
        nonsense.deepspeed_files(texts - texts * 2 // 3),
    )
    return [tried for some in draws for tried in try_all(some, UserError, OSError)]


def train_some(tried: list[Tried], folder: Path, count: int, seed: int) -> list[Tried]:
    """Train some of what `plan` has taken, each in a process of one rank."""
    taken = [one.draw for one in tried if one.outcome == TAKEN]
    chosen = random.Random(seed).sample(taken, len(taken))
    draws = []
    for draw in chosen:
        path, words = draw.act.args[-2:]  # type: ignore[attr-defined]
        if len(draws) < count and _is_small(path, words):
            act = partial(_trained, path, [*words, f"out={folder / 'trained' / str(len(draws))}"], folder / "log")
            draws.append(Draw("trained", draw.what, act))
    return try_all(draws, UserError, seconds=120)


def _is_small(path: Path, words: list[str]) -> bool:
    recipe = load_recipe(path, words)
    stages = plan(recipe)
    parameters = max(stage["parameters"] for stage in stages["stages"])
    return parameters < _LARGEST_TRAINED and stages["total"]["tokens"] < _LARGEST_TRAINED


def _trained(path: Path, words: list[str], log: Path) -> str | None:
    """Train, and say what went wrong. A refusal is raised."""
    ended = in_child(partial(apollo_ds, ["train", str(path), *words]), log)
    if ended.fault:
        return ended.fault
    if ended.code:
        raise UserError(ended.sentences[0])
    metrics = read_metrics(load_recipe(path, words).out / "metrics.jsonl")
    losses = [event["loss"] for event in metrics if "loss" in event]
    return None if losses and all(map(math.isfinite, losses)) else f"losses {losses[-5:]}"


def main() -> None:
    """Try nonsense, print the table, and end with 1 if something was neither refused nor right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=3000)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--trained", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a page for the table")
    options = parser.parse_args()
    began = time.monotonic()
    with workplace("nonsense") as place:
        tried = try_nonsense(place, options.values, options.texts, options.seed)
        tried += train_some(tried, place, options.trained, options.seed)
    faults = [one for one in tried if one.is_fault]
    refused = sum(one.outcome == REFUSED for one in tried)
    told = f"{len(tried)} draws, {refused} refused, {len(faults)} faults, in {time.monotonic() - began:.0f} s."
    rows = table(tried)
    print("\n".join([*rows, told]))
    if options.out:
        numbers = f"--values {options.values} --texts {options.texts} --trained {options.trained}"
        command = f"python tests/support/nonsense.py {numbers} --seed {options.seed}"
        options.out.write_text(f"# Nonsense in recipes\n\n`{command}`: {told}\n\n" + "\n".join([*rows, ""]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
