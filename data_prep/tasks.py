"""A build by several tasks, on any number of machines. Each task encodes its share of the parts, then one merges them.

The tasks need no lock: the file system between machines may not have any. If two tasks make the same file, the content
is the same to the byte, and it gets its name in one step. The first task trains the tokenizer. The others wait for it.
"""

import heapq
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data_prep import files
from data_prep.build import finish, finished
from data_prep.errors import DataError
from data_prep.manifest import NAME, Manifest
from data_prep.options import Options
from data_prep.parts import Job, is_done
from data_prep.pool import check_workers, encode_all
from data_prep.sources import Part
from data_prep.work import Untrained, begin, opened

_NOTED = "tasks.json"
"""The file in OUT/work with the number of tasks. From it a merge can name the tasks that have to run again."""
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Task:
    """One of `count` tasks, numbered from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Task":
        """Read a task from text such as `3/16`.

        Raises:
            DataError: the text is not I/N with I from 1 to N.
        """
        numbers = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        task = cls(*map(int, numbers.groups())) if numbers else cls(0, 0)
        if not 1 <= task.number <= task.count:
            raise DataError(f"--part {text}: not I/N with I from 1 to N, such as 3/16")
        return task


def encode_share(options: Options, out: Path, task: Task, workers: int, console: Console) -> None:
    """Encode a task's share of the parts. They stay in OUT/work, where `merge_shares` and `build` find them.

    Args:
        options: what to make. It is the same for all tasks.
        out: the folder for the shards. All tasks must see it.
        task: which of the tasks this is.
        workers: how many processes encode.
        console: where progress is shown.
    Raises:
        DataError: for the reasons that `build` names.
    """
    check_workers(workers)
    if os.path.lexists(out / NAME):
        finished(options, out, console)
        console.print(f"{out}: the shards are there already", highlight=False, soft_wrap=True)
        return
    with opened(options, out, shared=True) as work:
        if os.path.lexists(out / NAME):  # another process has merged since
            finished(options, out, console)
            return
        begun = begin(options, out, work, console, None if task.number == 1 else _wait_for_first(task, console))
        files.write_hashed(work / _NOTED, {"count": task.count})
        share = shares(begun.plan, task.count)[task.number - 1]
        encode_all(begun.job, share, workers, console)
        what = f"part {task.number}/{task.count}: {len(share)} of {len(begun.plan)} pieces of work are done"
        console.print(f"{what}; once all parts are, the same command with --merge makes the shards", highlight=False)


def merge_shares(options: Options, out: Path, console: Console) -> Manifest:
    """Make the shards from the parts that the tasks have encoded.

    Args:
        options: what to make. It must be the same as for the tasks.
        out: the folder for the shards.
        console: where progress is shown.
    Returns:
        The manifest.
    Raises:
        DataError: parts are missing, and the message names the tasks to run; or for the reasons that `build` names.
    """

    def refuse_missing(job: Job, plan: list[Part]) -> None:
        missing = {part.key for part in plan if not is_done(job, part)}
        if missing:
            raise DataError(
                f"{out}: {len(missing)} of {len(plan)} pieces of work are not done, or the sources have changed since: "
                f"run {_tasks_of(missing, plan, _count(job.folder.parent))}, then --merge"
            )

    def refuse(folder: Path) -> None:
        count = _count(folder.parent) or "N"
        raise DataError(
            f"{out}: has no tokenizer of these sources yet: run --part 1/{count} and the others, then --merge"
        )

    return finish(options, out, console, refuse_missing, refuse)


def shares(plan: list[Part], count: int) -> list[list[Part]]:
    """Give parts to tasks: the largest first, each to the task that has the fewest bytes so far.

    Args:
        plan: the parts.
        count: how many tasks there are.
    Returns:
        The parts of each task, in the order of `plan`.
    """
    loads = [(0, task) for task in range(count)]
    owners = {}
    for i in sorted(range(len(plan)), key=lambda i: (-plan[i].size, i)):
        load, owners[i] = loads[0]
        heapq.heapreplace(loads, (load + plan[i].size, owners[i]))
    dealt: list[list[Part]] = [[] for _ in range(count)]
    for i, part in enumerate(plan):
        dealt[owners[i]].append(part)
    return dealt


def _wait_for_first(task: Task, console: Console) -> Untrained:
    def wait(folder: Path) -> None:
        first = f"--part 1/{task.count}"
        console.print(
            f"waiting for the tokenizer, which {first} trains: start that if it is not running", highlight=False
        )
        while not folder.exists():
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    return wait


def _count(work: Path) -> int | None:
    """The number of tasks that the last task recorded. None if it is not recorded."""
    with suppress(FileNotFoundError, ValueError):
        noted, is_hashed = files.read_hashed(work / _NOTED)
        return int(noted["count"]) if is_hashed else None
    return None


def _tasks_of(missing: set[str], plan: list[Part], count: int | None) -> str:
    """The tasks to which these parts belong, in the form that `sbatch --array` takes: 1,3-5."""
    if count is None:
        return "--part I/N with each I from 1 to N"
    numbers = [i for i, share in enumerate(shares(plan, count), 1) if any(part.key in missing for part in share)]
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return f"--part I/{count} with each I of {','.join('-'.join(map(str, run)) for run in runs)}"
