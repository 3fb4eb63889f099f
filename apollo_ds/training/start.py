"""Start a run by a command or by a Python call. Both start the ranks; each rank then trains through this file too."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from apollo_ds.config.words import split_recipe
from apollo_ds.errors import EXIT_HANG, EXIT_STOPPED, EXIT_USER_ERROR, RunFailed, Stopped, UserError
from apollo_ds.ranks import RankOf
from apollo_ds.training import run_log
from apollo_ds.training.faults.crash import leave_when_done
from apollo_ds.training.faults.watchdog import Watchdog
from apollo_ds.training.launch import End, Ranks, launch
from apollo_ds.training.run import Outcome, prepare, run

_COMPLAINT = "apollo-ds: "
"""The beginning of the line in which a rank says what is wrong."""


def train_by_command(words: Sequence[str], ranks: int | None = None) -> int:
    """Train on all ranks of this machine, and return the exit code.

    A process that is itself a rank trains as that rank, and then exits.

    Raises:
        UserError: something is wrong with the recipe, the data, the number of ranks or the run folder.
    """
    name, overrides = split_recipe(words)
    if _is_rank(ranks):
        code = 0
        try:
            run(name, overrides)
        except Stopped:
            code = EXIT_STOPPED
        leave_when_done(code)
    chosen = Ranks.of_this_machine(ranks)
    run_log.start("launcher")
    watchdog = Watchdog("launcher")
    watchdog.start()
    try:
        prepare(name, overrides, chosen.count, watchdog.heed)
    finally:
        watchdog.close()
    end = launch([str(name), *overrides], chosen)
    run_log.restore_terminal()
    if end.words:
        print(f"{_COMPLAINT}{end.words}", file=sys.stderr)
    return end.code


def train(*words: str | Path, ranks: int | None = None) -> Outcome:
    """Train as `apollo-ds train RECIPE key=value ...` does, and print what it prints.

    The ranks are processes of their own. In a process that is a rank already (RANK is in the environment, as under
    torchrun) it trains on that one rank.

    Ctrl-C, or a notebook's interrupt, lets the run save before the `KeyboardInterrupt` goes on. A second one ends it at
    once. The same call resumes a run that was stopped or has failed.

    Args:
        words: A recipe, which is a file or a name of the package's such as `bert-base`, then `key=value` for the keys
            to change.
        ranks: How many processes train. By default one for each GPU of this machine, or two on a machine without.

    Returns:
        The result of the finished run.

    Raises:
        UserError: Something is wrong with the recipe, the data, the number of ranks or the run folder.
        Stopped: A signal to a rank asked it to stop, and it has saved.
        RunFailed: A rank died or hung, or met a fault of this program's own.
    """
    name, overrides = split_recipe([str(word) for word in words])
    if _is_rank(ranks):
        return run(name, overrides)
    chosen = Ranks.of_this_machine(ranks)
    folder = prepare(name, overrides, chosen.count).out
    # A file, not a pipe: a rank can still write to it when this process has died.
    with NamedTemporaryFile("w", prefix="apollo-ds-", suffix=".log") as log, open(log.name, "rb") as written:
        echo = _Echo(written)
        end = launch([str(name), *overrides], chosen, (signal.SIGINT,), log.file, echo.more)
    if end.was_asked:
        raise KeyboardInterrupt
    if end.code:
        raise _exception(end, echo.complaint)
    return Outcome.read(folder)


def _is_rank(ranks: int | None) -> bool:
    is_rank = RankOf.this_process() is not None
    if is_rank and ranks is not None:
        raise UserError("ranks: cannot be chosen here, since RANK is set: this process is one of a run's ranks already")
    return is_rank


class _Echo:
    """Prints the ranks' output line by line, but stores a rank's complaint instead of printing it."""

    def __init__(self, written: IO[bytes]) -> None:
        self.complaint = ""
        self._written = written
        self._begun = b""

    def more(self) -> None:
        """Print the lines that have arrived since the last call."""
        *lines, self._begun = (self._begun + self._written.read()).split(b"\n")
        for line in (line.decode(errors="replace") for line in lines):
            if line.startswith(_COMPLAINT):
                self.complaint = line.removeprefix(_COMPLAINT)
            else:
                print(line, flush=True)


def _exception(end: End, complaint: str) -> Exception:
    if end.code == EXIT_USER_ERROR and complaint:
        return UserError(complaint)
    if end.code == EXIT_STOPPED:
        return Stopped("a signal asked the run to stop, and it has saved; the same call resumes it")
    if end.code == EXIT_HANG:
        return RunFailed("a rank hung, and printed where; the same call resumes the run")
    return RunFailed(end.words or complaint or f"a rank ended with exit code {end.code}, and printed why")
