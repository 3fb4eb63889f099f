"""Flip single bits of a run, of prepared text and of an export: each is passed over, named, or changes nothing.

python tests/support/flips.py --out benchmarks/results/flips.md
"""

import argparse
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from forking import Ended, in_child, workplace
from recipes import write
from scenes import Scene, contents, small_run, training_scenes

from apollo_ds.__main__ import main as apollo_ds
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import EXIT_USER_ERROR
from apollo_ds.finetune.pretrained import Pretrained

_HEAD = 512
_READ, _WEIGHT = {".json", ".jsonl", ".yaml", ".safetensors", ".bin", ".idx", ""}, 5
_TELLS = re.compile("damage|going back|passed over|set aside|no hash", re.IGNORECASE)
NOTHING, PASSED, NAMED, OTHER, TRACEBACK = OUTCOMES = (
    "changes nothing",
    "passed over, the same result",
    "named in one sentence",
    "OTHER NUMBERS SILENTLY",
    "TRACEBACK",
)
_SHARES = {"resume": 0.4, "export": 0.15, "compare": 0.1, "train": 0.2, "load": 0.15}
"""The share of all flips that each command gets."""


@dataclass(frozen=True)
class Flip:
    """A flipped bit, and what came of it."""

    command: str
    file: str
    bit: int
    outcome: str
    said: str

    def __str__(self) -> str:
        return f"{self.command}: bit {self.bit} of {self.file}: {self.outcome}: {self.said}"


def flip(folder: Path, dice: random.Random) -> tuple[str, int]:
    """Flip one bit, with the file's time of change as it was: mostly of a file that is read; half in its beginning."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    (file,) = dice.choices(files, [_WEIGHT if path.suffix in _READ else 1 for path in files])
    content = bytearray(file.read_bytes())
    place = dice.randrange(min(len(content), _HEAD) if dice.random() < 0.5 else len(content))
    bit = dice.randrange(8)
    content[place] ^= 1 << bit
    times = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    name = re.sub(r"tfevents.*", "tfevents", str(file.relative_to(folder)))
    return name, place * 8 + bit


class Target:
    """A command that reads a folder, and what it comes to when nothing is wrong with that."""

    def __init__(self, scene: Scene, flipped: Path, place: Path) -> None:
        self.scene = scene
        self.flipped = flipped
        self.log = place / "log"
        scene.begin()
        ended = in_child(scene.act, self.log)
        assert ended.code == 0, ended.output
        self.wanted = scene.result()

    def trial(self, dice: random.Random) -> Flip:
        """Flip a bit and run the command."""
        self.scene.begin()
        self.log.unlink()
        file, bit = flip(self.flipped, dice)
        ended = in_child(self.scene.act, self.log)
        said = " ".join(ended.sentences) or (ended.output.strip()[-400:] if ended.fault else "")
        return Flip(self.scene.name, file, bit, self._outcome(ended), said)

    def _outcome(self, ended: Ended) -> str:
        if ended.fault:
            return TRACEBACK
        if ended.code == EXIT_USER_ERROR:
            return NAMED
        try:
            equal = self.scene.result() == self.wanted
        except (OSError, ValueError, LookupError):
            equal = False
        return OTHER if not equal else PASSED if _TELLS.search(ended.output) else NOTHING


def targets(place: Path) -> list[Target]:
    """The commands, each with the folder that it reads."""
    new, resumed, exported = training_scenes(place)
    run, log = new.folder / "run", place / "log"
    scenes = [
        (resumed, run),
        (exported, run),
        (replace(exported, name="compare", act=partial(apollo_ds, ["compare", str(run)]), result=log.read_text), run),
        _training_on_copied_text(place),
        _loading(place, exported),
    ]
    return [Target(scene, flipped, place) for scene, flipped in scenes]


def _training_on_copied_text(place: Path) -> tuple[Scene, Path]:
    start, folder = place / "with-text", place / "training"
    recipe = small_run(folder)
    text = folder / "text"
    shutil.copytree(recipe.data, start / "text")
    checks = []
    if "verify" in Recipe.model_fields:
        checks = ["verify=full"]
    else:
        shutil.rmtree(start / "text" / "cache")
    act = partial(apollo_ds, ["train", write(recipe.model_copy(update={"data": text}), place / "copied.yaml"), *checks])
    return Scene("train", start, folder, act, partial(_checkpoints, recipe.out), lambda: 0), text


def _checkpoints(run: Path) -> Any:
    return {name: digest for name, digest in contents(run / "checkpoints").items() if "safetensors" in name}


def _loading(place: Path, exported: Scene) -> tuple[Scene, Path]:
    """Loading an export as fine-tuning does; the log has what was loaded."""
    start, folder = place / "with-model", place / "loading"
    shutil.copytree(exported.start / "run" / "export", start / "model")
    act = partial(_load, folder / "model")
    return Scene("load", start, folder, act, (place / "log").read_text, lambda: 0), folder / "model"


def _load(folder: Path) -> None:
    import hashlib

    from apollo_ds.errors import UserError

    try:
        pretrained = Pretrained.open(str(folder))
        model = pretrained.build("AutoModelForSequenceClassification", {"num_labels": 2}, seed=0)
    except UserError as error:
        print(f"apollo-ds: {error}")
        sys.exit(EXIT_USER_ERROR)
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
    print(digest.hexdigest(), pretrained.encode(["The cat sees, the dog hears: 42 Ünïcode."]), pretrained.positions)
    print({key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"})


def try_flips(place: Path, count: int, seed: int) -> list[Flip]:
    """Try so many flips; prints those that go wrong."""
    dice = random.Random(seed)
    flips = []
    for target in targets(place):
        for _ in range(round(count * _SHARES[target.scene.name])):
            flips.append(target.trial(dice))
            if flips[-1].outcome in (OTHER, TRACEBACK):
                print(flips[-1], flush=True)
    return flips


def table(flips: list[Flip], key: Callable[[Flip], str]) -> list[str]:
    """Markdown: how many flips came to what."""
    counts: dict[str, Counter[str]] = {}
    for one in flips:
        counts.setdefault(key(one), Counter())[one.outcome] += 1
    rows = [f"| | flips | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * (len(OUTCOMES) + 1)}"]
    for name, counted in counts.items():
        rows.append(f"| {name} | {counted.total()} | {' | '.join(str(counted[outcome]) for outcome in OUTCOMES)} |")
    return rows


def main() -> None:
    """Try flips, print the tables, and end with 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a page for the tables")
    options = parser.parse_args()
    began = time.monotonic()
    with workplace("flips") as place:
        flips = try_flips(place, options.flips, options.seed)
    wrong = [one for one in flips if one.outcome in (OTHER, TRACEBACK)]
    told = f"{len(flips)} flips, {len(wrong)} of them wrong, in {time.monotonic() - began:.0f} s."
    rows = [*table(flips, lambda one: one.command), "", *table(flips, lambda one: f"{one.command}: `{one.file}`")]
    print("\n".join([*rows, told]))
    if options.out:
        command = f"python tests/support/flips.py --flips {options.flips} --seed {options.seed}"
        options.out.write_text(f"# Flipped bits\n\n`{command}`: {told}\n\n" + "\n".join([*rows, ""]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
