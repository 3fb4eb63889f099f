"""Cases of the faults that were found from outside: what is done to a run, and whether what follows is right."""

from collections.abc import Callable
from dataclasses import dataclass

from run_bench import Bench, Done

Judged = tuple[Done, bool]
CASES: list["Case"] = []


@dataclass(frozen=True)
class Case:
    """One case of a row."""

    row: str
    title: str
    judge: Callable[[Bench], Judged]


def case(row: str, title: str) -> Callable[[Callable[[Bench], Judged]], Callable[[Bench], Judged]]:
    """Add a function to the cases; it returns how the command ended, and whether that is right."""

    def add(judge: Callable[[Bench], Judged]) -> Callable[[Bench], Judged]:
        CASES.append(Case(row, title, judge))
        return judge

    return add


def damaged(
    row: str, title: str, step: int, *words: str, refuses: bool | None = None, names: str = ""
) -> Callable[..., object]:
    """A case that does something to a run saved after `step`, and trains on: it ends equal, or refuses, or either.

    Where it refuses, its sentence has `names` in it.
    """

    def decorate(harm: Callable[[Bench], object]) -> None:
        def judge(bench: Bench) -> Judged:
            bench.begin(step)
            harm(bench)
            done = bench.train(*words)
            equal = done.code == 0 and "Traceback" not in done.output and bench.is_calm
            named = done.refused and names in done.sentences[0]
            return done, (named and refuses is not False) or (equal and not refuses)

        case(row, title)(judge)

    return decorate
