"""Running a sweep: one run after another through the launcher, past what fails, until told to stop."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import EXIT_STOPPED, UserError
from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.sweep.grid import Cell, Grid

COMMAND = (sys.executable, "-m", "apollo_ds", "train")
_FAILED = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Sweep:
    """The runs of a grid, started as a user would start them."""

    def __init__(self, grid: Grid, command: Sequence[str] = COMMAND) -> None:
        self.grid = grid
        self.command = command
        self.console = Console(highlight=False)
        self._stopping = False
        self._told = False
        """Whether the run that goes on has been told to stop."""
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, number: int | None = None) -> int:
        """Do all runs that are not complete, or only the `number`-th, counted from 1; returns the exit code.

        At SIGINT, SIGTERM, SIGUSR1 or SIGHUP the run is told to save and end, and no other is started. The exit code
        is 0 if all went well, 1 if a run failed, and `errors.EXIT_STOPPED` if the sweep or a run was stopped.

        Raises:
            UserError: there is no such number.
        """
        cells = self._chosen(number)
        failed: dict[str, int] = {}
        with self._signals_caught():
            for position, cell in enumerate(cells):
                code = self._run(cell, f"{position + 1 if number is None else number}/{len(self.grid.cells)}")
                if self._stopping or code == EXIT_STOPPED:
                    self._say(f"stopped at {cell.name}; run the same command to resume")
                    return EXIT_STOPPED
                if code:
                    failed[cell.name] = code
        if number is None:
            self._compare()
        for name, code in failed.items():
            self._say(f"failed: {name}, with exit code {code}")
        return _FAILED if failed else 0

    def _chosen(self, number: int | None) -> Sequence[Cell]:
        cells = self.grid.cells
        if number is None:
            return cells
        if not 1 <= number <= len(cells):
            raise UserError(f"--number {number}: the grid has the runs 1 to {len(cells)}")
        return [cells[number - 1]]

    def _run(self, cell: Cell, position: str) -> int:
        """Start or resume a run and wait for its end; its exit code, 0 if there was nothing to do."""
        if is_complete(cell):
            self._say(f"{position}  {cell.name}: complete")
            return 0
        if self._stopping:
            return EXIT_STOPPED
        self._say(f"{position}  {cell.name}")
        command = [*self.command, str(self.grid.recipe), *cell.words]
        # A session of its own: what a terminal sends to all its processes reaches it through this one, and so once.
        self._running = subprocess.Popen(command, start_new_session=True)
        if self._stopping and not self._told:  # the signal came between the look above and the start
            self._running.terminate()
        code = self._running.wait()
        self._running = None
        return code

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

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._running:
            self._told = True
            self._running.terminate()

    def _compare(self) -> None:
        """Print what the complete runs came to at each recipe's best rate; the first one's recipe is the baseline."""
        from apollo_ds.experiments.compare.comparison import Comparison
        from apollo_ds.experiments.compare.page import print_comparison

        complete = [cell.folder for cell in self.grid.cells if is_complete(cell)]
        if not complete:
            return
        try:
            print_comparison(Comparison.of(complete, tuned=True), self.console)
        except UserError as error:
            self._say(str(error))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False)


def is_complete(cell: Cell) -> bool:
    """Whether a run came to its end, with its model and its report."""
    folder = RunFolder(cell.folder)
    if not (folder.exists and folder.metrics.is_file() and (folder.report / "report.md").is_file()):
        return False
    return RunHistory.read(cell.folder).finished
