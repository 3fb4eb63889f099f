"""Fail at each file operation of a command, one after another; after each, the same command comes to the same result.

python tests/support/crash_points.py --out benchmarks/results/crash_points.md
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import Fault
from forking import KILLED, Ended, in_child, workplace
from scenes import Scene, disturbed, operations, place_of, preparation_scene, training_scenes, undisturbed

from apollo_ds.errors import EXIT_STOPPED, EXIT_USER_ERROR

_TENSORBOARD_EVERY = 10
"""TensorBoard opens and writes a file for each number of each step: of these points, one in so many is tried."""
_REMOVING = ("unlink", "rmdir")


@dataclass(frozen=True)
class Trial:
    """A fault at one operation, and what came of it."""

    scene: str
    place: str
    operation: str
    number: int
    fault: Fault
    at_fault: str
    """How the command ended."""
    afterwards: str
    """The result of the same command when it ran again."""
    wrong: str = ""

    def __str__(self) -> str:
        told = f"{self.scene} {self.number} ({self.operation}, {self.place}), {self.fault.name}"
        return f"{told}: {self.at_fault}; then {self.afterwards}{self.wrong and f' WRONG: {self.wrong}'}"


def points(done: list[str]) -> Iterator[tuple[int, Fault]]:
    """The operations of a command, and how each can fail.

    Removing needs no space. What is no write cannot be torn: a kill after it is one before the next.
    """
    tensorboard = 0
    for number, line in enumerate(done, 1):
        operation, path = line.split("\t")
        if place_of(path) == "TensorBoard":
            tensorboard += 1
            if tensorboard % _TENSORBOARD_EVERY:
                continue
        yield number, Fault.KILL
        if operation == "write":
            yield number, Fault.TORN
        if operation not in _REMOVING:
            yield number, Fault.NO_SPACE


class Judge:
    """Tries the points of a scene against the result of an undisturbed run."""

    def __init__(self, scene: Scene, place: Path) -> None:
        self.scene = scene
        self.place = place
        scene.begin()
        self.operations = undisturbed(scene, place)
        self.wanted = scene.result()

    def trial(self, number: int, fault: Fault) -> Trial:
        """Let one operation fail, and then run the command again."""
        self.scene.begin()
        before = self.scene.sound()
        first = disturbed(self.scene, self.place, number, fault)
        operation, path = operations(self.place)[-1].split("\t")
        wrong = [first.fault]
        if first.code == 0:
            wrong.append(self._difference("ends with 0"))
        if (sound := self.scene.sound()) < before:
            wrong.append(f"step {before} was sound, and is gone: the newest is {sound}")
        second = in_child(self.scene.act, self.place / "log")
        wrong.append(second.fault and f"afterwards: {second.fault}")
        if second.code == 0:
            wrong.append(self._difference("afterwards"))
        return Trial(
            scene=self.scene.name,
            place=place_of(path),
            operation=operation,
            number=number,
            fault=fault,
            at_fault=_ending(first),
            afterwards="equal" if second.code == 0 else " ".join(second.sentences),
            wrong="; ".join(filter(None, wrong)),
        )

    def _difference(self, when: str) -> str:
        try:
            result = self.scene.result()
        except (OSError, ValueError, LookupError) as error:
            return f"{when}: {error}"
        return "" if result == self.wanted else f"{when}: {_first_difference(self.wanted, result)}"


def _ending(ended: Ended) -> str:
    ends = {0: "ends with 0", EXIT_USER_ERROR: "says so", EXIT_STOPPED: "stops", KILLED: "killed"}
    return ends.get(ended.code, f"exit code {ended.code}")


def _first_difference(wanted: Any, result: Any, where: str = "") -> str:
    """Where two results differ."""
    if isinstance(wanted, dict) and isinstance(result, dict):
        wanted, result = ([*sorted(value.items())] for value in (wanted, result))
    if isinstance(wanted, list | tuple) and isinstance(result, list | tuple) and len(wanted) == len(result):
        pairs = enumerate(zip(wanted, result, strict=True))
        return next(_first_difference(*pair, f"{where}[{i}]") for i, pair in pairs if pair[0] != pair[1])
    return f"result{where} is {str(result)[:100]}, not {str(wanted)[:100]}"


def table(trials: list[Trial]) -> list[str]:
    """Markdown: how many points of each place there are, and how they ended."""
    rows = ["| command | what is written | fault | points | how the command ends | the same command again |"]
    rows.append("|---|---|---|---|---|---|")
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.scene, trial.place, trial.fault.name.lower().replace("_", " ")), []).append(trial)
    for key, group in groups.items():
        ends = Counter(trial.at_fault for trial in group)
        after = Counter("WRONG" if t.wrong else "equal" if t.afterwards == "equal" else "says so" for t in group)
        told = [", ".join(f"{name} {count}" for name, count in sorted(counts.items())) for counts in (ends, after)]
        rows.append(f"| {' | '.join(key)} | {len(group)} | {told[0]} | {told[1]} |")
    return rows


def try_points(place: Path, names: list[str], sample: int | None) -> list[Trial]:
    """Try the points of the scenes of these names, or `sample` of each, evenly spread; prints what is wrong."""
    trials = []
    for scene in [preparation_scene(place), *training_scenes(place)]:
        if names and scene.name not in names:
            continue
        judge = Judge(scene, place)
        tried = list(points(judge.operations))
        print(f"{scene.name}: {len(judge.operations)} operations, {len(tried)} points", flush=True)
        step = max(1, len(tried) // sample) if sample else 1
        for number, fault in tried[step // 2 :: step]:
            trials.append(judge.trial(number, fault))
            if trials[-1].wrong:
                print(trials[-1], flush=True)
    return trials


def main() -> None:
    """Try the points, print the table, and end with 1 if one of them went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", nargs="*", default=[], help="build, train, resume, export; default: all")
    parser.add_argument("--sample", type=int, help="so many points of each scene; default: all")
    parser.add_argument("--out", type=Path, help="a page for the table")
    options = parser.parse_args()
    began = time.monotonic()
    with workplace("crash") as place:
        trials = try_points(place, options.scenes, options.sample)
    wrong = [trial for trial in trials if trial.wrong]
    rows = table(trials)
    told = f"{len(trials)} points, {len(wrong)} of them wrong, in {time.monotonic() - began:.0f} s."
    print("\n".join([*rows, told]))
    if options.out:
        options.out.write_text(
            "# A fault at each file operation\n\n"
            f"`{' '.join(['python', 'tests/support/crash_points.py', *sys.argv[1:]])}`: {told}\n\n"
            f"Of TensorBoard's operations one in {_TENSORBOARD_EVERY} is tried, of all others each.\n\n"
            + "\n".join([*rows, "", *(f"- {trial}" for trial in wrong)])
            + "\n"
        )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
