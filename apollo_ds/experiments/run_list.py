"""List the runs below a folder, and how far each has come. Only the end of each record is read. It imports no torch."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from apollo_ds.config.recorded import read_recorded
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.text import NOTHING, loss_text
from apollo_ds.experiments.events import Event, events_from_the_end
from apollo_ds.experiments.history import recorded_loss
from apollo_ds.planning.in_words import flops_in_words, time_in_words

State = Literal["running", "finished", "stopped", "unfinished", "damaged"]
"""`stopped`: the run has saved its last step. `unfinished`: it has not, or has not begun. Both can be resumed."""
_TELLING = ("step", "eval", "checkpoint", "end")
"""The kinds of events that show how far a run has come."""


_UNITS = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class RunSummary:
    """A run's state, and its last loss and cost."""

    folder: Path
    state: State
    written: float
    """The time when the run's record was last written to, in seconds since 1970."""
    step: int = 0
    steps: int | None = None
    """The steps of the whole run. None if its config.yaml cannot be read."""
    loss: float | None = None
    """The last held-out loss in nats per token. None if there is none yet, and infinite if it was not finite."""
    flops: float = 0.0
    seconds: float = 0.0
    damage: str = ""
    """For a damaged run: a sentence that names the damaged file."""

    @classmethod
    def read(cls, path: Path) -> "RunSummary":
        """The summary of a run's folder. Damage is recorded in it, and raises no error."""
        folder = RunFolder(path)
        written = max(file.stat().st_mtime for file in (folder.config, folder.metrics) if file.is_file())
        try:
            steps = read_recorded(folder.config).recipe["steps"]
            last = _last_events(folder.metrics) if folder.metrics.is_file() else {}
            return cls(path, _state(folder, last), written, steps=steps, **_reached(last))
        except (UserError, KeyError, TypeError) as error:
            damage = str(error) if isinstance(error, UserError) else f"{folder.metrics}: damaged; restore the file"
            return cls(path, "damaged", written, damage=damage)

    def plain(self) -> dict[str, Any]:
        """The summary as values for JSON. A loss that was not finite is null."""
        finite = None if self.loss is None or not isfinite(self.loss) else self.loss
        time = datetime.fromtimestamp(self.written, UTC).isoformat(timespec="seconds")
        return {**asdict(self), "folder": str(self.folder), "loss": finite, "written": time}


def find_runs(folder: Path) -> list[RunSummary]:
    """The runs in a folder and in all folders below it. The run that was written to last comes first.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; name one that holds runs, such as the `out` of a recipe")
    found = [RunSummary.read(path) for path in _run_folders(folder)]
    return sorted(found, key=lambda run: (-run.written, run.folder))


def table_of(runs: list[RunSummary], below: Path, now: float) -> Table:
    """The table of runs for a terminal. A run's name is its path below a folder. `now` is in seconds since 1970."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("step", "loss", "cost", "time", "written"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        name = run.folder.name if run.folder == below else str(run.folder.relative_to(below))
        table.add_row(Text(name), run.state, *_figures(run), _ago(now - run.written))
    return table


def _figures(run: RunSummary) -> tuple[str, ...]:
    if run.state == "damaged":
        return (NOTHING,) * 4
    step = f"{run.step:,}" if run.step == run.steps else f"{run.step:,}/{run.steps:,}"
    return (
        step,
        loss_text(run.loss),
        flops_in_words(run.flops) if run.flops else NOTHING,
        time_in_words(run.seconds) if run.seconds else NOTHING,
    )


def _ago(seconds: float) -> str:
    """A time in the largest unit of which there are at least two."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= 2 * size), ("", 1))
    return f"{seconds // size:.0f} {unit} ago" if unit else "now"


def _run_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs. Links are followed, but no folder comes twice. Runs inside a run do not count."""
    seen: set[str] = set()
    for place, names, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        if _is_run(Path(place)):
            names.clear()
            yield Path(place)
        names[:] = [name for name in names if not name.startswith(".")]


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return folder.metrics.is_file() or (folder.exists and folder.checkpoints.is_dir())


def _last_events(path: Path) -> dict[str, Event]:
    """The last event of each kind. An `end` counts only if nothing follows it: a run may have been given more steps."""
    last: dict[str, Event] = {}
    sought = {*_TELLING}
    for event in events_from_the_end(path, sought):
        last[event["event"]] = event
        sought -= {event["event"], "end"}  # an end that is not the last event does not count
        if not sought:
            break
    return last


def _state(folder: RunFolder, last: dict[str, Event]) -> State:
    if folder.is_in_use:
        return "running"
    if "end" in last:
        return "finished"
    is_saved = "step" in last and last.get("checkpoint", {}).get("step") == last["step"]["step"]
    return "stopped" if is_saved else "unfinished"


def _reached(last: dict[str, Event]) -> dict[str, Any]:
    """The step, loss and cost that a run has reached, from its last events."""
    reached: dict[str, Any] = {}
    if spent := [last[kind] for kind in ("step", "eval", "end") if kind in last]:
        reached = {key: max(event.get(key, 0) for event in spent) for key in ("step", "flops", "seconds")}
    if "eval" in last:
        reached["loss"] = recorded_loss(last["eval"]["loss"])
    return reached
