"""Run a sweep: several runs at a time, through the launcher. If a run fails, the others go on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import RLock
from types import FrameType
from typing import IO

from apollo_ds.errors import EXIT_STOPPED, UserError
from apollo_ds.experiments.sweep.cell import Cell, Trunk
from apollo_ds.experiments.sweep.further import awaits_others, further_cells, known_cells
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.gpus import divide, visible_gpus
from data_prep.output import Output

COMMAND = (sys.executable, "-m", "apollo_ds", "train")
_FAILED = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Sweep:
    """The runs of a grid, started as a user would start them."""

    def __init__(self, grid: Grid, command: Sequence[str] = COMMAND, jobs: int = 1) -> None:
        self.grid = grid
        self.jobs = jobs
        self.command = command
        self.console = Output(highlight=False)
        self._environments: SimpleQueue[dict[str, str]] = SimpleQueue()
        """The environment variables of the jobs that are free. A job adds its own to the run that it starts."""
        self._lock = RLock()
        self._stopping = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._failed: dict[str, str] = {}

    def run(self, number: int | None = None) -> int:
        """Train all runs that are not complete, or only the `number`-th, counted from 1. Return the exit code.

        A run that branches off another waits until that one has ended.

        At SIGINT, SIGTERM, SIGUSR1 or SIGHUP the runs are told to save and end, and no other run is started. The exit
        code is 0 if all went well, 1 if a run failed, and `errors.EXIT_STOPPED` if the sweep or a run was stopped.

        Raises:
            UserError: there is no run of this number, it branches off a run that has not reached the step, or there are
                fewer GPUs than jobs.
        """
        chosen = self._chosen(number) if number is not None else []
        self._failed.clear()
        self._environments = SimpleQueue()
        for environment in divide(visible_gpus(), self.jobs):
            self._environments.put(environment)
        with self._signals_caught():
            if chosen:
                self._run_all(chosen)
            else:
                cells = self.grid.cells
                self._run_all(_numbered(cells))
                self._run_all(_numbered([*cells, *further_cells(self.grid)])[len(cells) :])
        if self._stopping:
            self._say("stopped; run the same command to resume")
            return EXIT_STOPPED
        if number is None:
            self._compare()
        for name, how in self._failed.items():
            self._say(f"failed: {name}, {how}")
        return _FAILED if self._failed else 0

    def _chosen(self, number: int) -> list[tuple[str, Cell]]:
        cells = known_cells(self.grid)
        if not 1 <= number <= len(cells):
            later = "; its further seeds follow when these are complete" if awaits_others(self.grid) else ""
            raise UserError(f"--number {number}: the grid has the runs 1 to {len(cells)}{later}")
        chosen = cells[number - 1]
        trunk = self.grid.trunk(chosen)
        if trunk and trunk.is_awaited_by(chosen):
            first = cells.index(trunk.cell) + 1
            raise UserError(
                f"--number {number}: goes on from {trunk}, which is not there yet; do --number {first} first"
            )
        return [_numbered(cells)[number - 1]]

    def _run_all(self, cells: Sequence[tuple[str, Cell]]) -> None:
        ends: dict[Path, Future[None]] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            for number, cell in cells:
                trunk = self.grid.trunk(cell)
                # Jobs begin in this order, and a trunk comes before its branches. So no two runs wait for each other.
                first = ends.get(trunk.cell.folder) if trunk else None
                ends[cell.folder] = pool.submit(self._run, cell, f"{number}  {cell.name}", trunk, first)
            for end in ends.values():
                end.result()

    def _run(self, cell: Cell, name: str, trunk: Trunk | None, first: Future[None] | None) -> None:
        """Start or resume a run, wait for its end, and print how it ended. If the sweep is stopping, do nothing.

        Args:
            cell: the run.
            name: its name in printed lines.
            trunk: the run and step that it branches off.
            first: the future that ends with that run. It is waited for.
        """
        if first:
            first.result()
        if self._stopping:
            return
        if cell.is_complete:
            self._say(f"{name}: complete")
            return
        if trunk and trunk.is_awaited_by(cell):
            self._fail(cell, name, f"because {trunk} is not there")
            return
        self._say(name)
        code = self._wait_for(cell)
        if code == EXIT_STOPPED:
            self._say(f"{name}: stopped")
            with self._lock:
                if not self._stopping:  # a second SIGTERM would prevent the others from saving
                    self._stop()
        elif code:
            self._fail(cell, name, f"with exit code {code}" + (f"; see {_log(cell)}" if self.jobs > 1 else ""))
        else:
            self._say(f"{name}: done")

    def _fail(self, cell: Cell, name: str, how: str) -> None:
        self._failed[cell.name] = how
        self._say(f"{name}: failed {how}")

    def _wait_for(self, cell: Cell) -> int:
        environment = self._environments.get()
        try:
            with ExitStack() as stack:
                output = stack.enter_context(_opened(_log(cell))) if self.jobs > 1 else None
                with self._lock:
                    if self._stopping:
                        return EXIT_STOPPED
                    # In a session of its own, a signal from the terminal reaches it only once, through this process.
                    started = subprocess.Popen(
                        self._command(cell),
                        start_new_session=True,
                        env={**os.environ, **environment},
                        stdout=output,
                        stderr=subprocess.STDOUT if output else None,
                    )
                    self._running.add(started)
                code = started.wait()
                with self._lock:
                    self._running.discard(started)
                return code
        finally:
            self._environments.put(environment)

    def _command(self, cell: Cell) -> list[str]:
        alone = ["--ranks", "1"] if self.jobs > 1 and not visible_gpus() else []
        return [*self.command, *alone, str(self.grid.recipe), *cell.words]

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        caught = [number for number, handler in before.items() if handler != signal.SIG_IGN]  # nohup ignores SIGHUP
        for number in caught:
            signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number in caught:
                signal.signal(number, before[number])

    def _stop(self, _number: int | None = None, _frame: FrameType | None = None) -> None:
        """Start no other run, and tell the running ones to save and end."""
        with self._lock:
            self._stopping = True
            for started in self._running:
                started.terminate()

    def _compare(self) -> None:
        """Print the results of the complete runs at each recipe's best rate. The first run's recipe is the baseline."""
        from apollo_ds.experiments.compare.comparison import Comparison
        from apollo_ds.experiments.compare.page import print_comparison

        cells = [*self.grid.cells, *further_cells(self.grid)]
        complete = [cell.folder for cell in cells if cell.is_complete]
        if not complete:
            return
        try:
            print_comparison(Comparison.of(complete, tuned=True), self.console)
        except UserError as error:
            self._say(str(error))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def _numbered(cells: Sequence[Cell]) -> list[tuple[str, Cell]]:
    return [(f"{number}/{len(cells)}", cell) for number, cell in enumerate(cells, start=1)]


def _log(cell: Cell) -> Path:
    """The file for a run's output, which in a terminal would mix with that of others."""
    return cell.folder / "log"


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise UserError(f"out: cannot write to {path}: {error.strerror}") from None
