"""The results of a task. They are in results.json, to which each training adds its own."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from apollo_ds.errors import UserError
from apollo_ds.finetune.settings import Settings
from data_prep.files import lock, read_hashed, write_hashed


@dataclass(frozen=True)
class Spread:
    """The median, lowest and highest value of one metric over seeds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of these values. There must be at least one."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class AtRate:
    """The results of the trainings at one learning rate, after their last epoch."""

    learning_rate: float
    seeds: list[int]
    metrics: dict[str, Spread]


class Results:
    """A folder's results.json. Before a training is added, the file is read again."""

    def __init__(self, path: Path, settings: Settings, values: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.values = values

    @classmethod
    def open(cls, folder: Path, settings: Settings, about: dict[str, Any]) -> Self:
        """Open the results in a folder, or begin new ones.

        Args:
            folder: where results.json is or will be.
            settings: the settings. Results that exist must have the same.
            about: other facts about the model, the data and the machine.
        Raises:
            UserError: the folder has results with other settings, results.json is damaged, results.md is not from this
                command, or the folder cannot be written to.
        """
        _check_writable(folder)
        path, page = folder / "results.json", folder / "results.md"
        if page.exists() and not path.exists():
            raise UserError(f"{page}: is not of finetune, as there is no {path.name}; move it, or name another --out")
        runs = _read(path, settings)
        return cls(path, settings, {**about, "settings": asdict(settings), "runs": runs})

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The trainings. Each has the keys `learning_rate`, `seed`, `seconds`, `epochs` and `final`.

        Each of the `epochs` has `epoch`, `loss` and `metrics`.
        """
        return self.values["runs"]

    @property
    def headline(self) -> str:
        """The name of the metric to report."""
        return self.values["metrics"][0]

    def find(self, learning_rate: float, seed: int) -> dict[str, Any] | None:
        """The complete training with this learning rate and seed. None if there is none."""
        return next((run for run in self.runs if _key(run) == (learning_rate, seed)), None)

    def add(self, run: dict[str, Any]) -> None:
        """Add a training to those of the file, which other processes may have added to. Write it in one step.

        Raises:
            UserError: the file cannot be written, or another process has written results with other settings.
        """
        try:
            with _locked(self.path.parent):
                runs = {_key(one): one for one in (*_read(self.path, self.settings), run)}
                self.values["runs"] = [runs[key] for key in sorted(runs)]
                rates = self.rates()
                found = {"rates": [asdict(rate) for rate in rates], "best": asdict(self.best(rates))}
                write_hashed(self.path, {**self.values, **found})
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from None

    def rates(self) -> list[AtRate]:
        """The results of each learning rate."""
        rates = sorted({run["learning_rate"] for run in self.runs})
        return [self._at(rate) for rate in rates]

    def best(self, rates: Sequence[AtRate]) -> AtRate:
        """The learning rate with the highest median of the metric to report. Only those with the most seeds compete."""
        most = max(len(rate.seeds) for rate in rates)
        return max(
            (rate for rate in rates if len(rate.seeds) == most), key=lambda rate: rate.metrics[self.headline].median
        )

    def _at(self, learning_rate: float) -> AtRate:
        runs = [run for run in self.runs if run["learning_rate"] == learning_rate]
        spreads = {name: Spread.of([run["final"][name] for run in runs]) for name in self.values["metrics"]}
        return AtRate(learning_rate, [run["seed"] for run in runs], spreads)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder: wait for other processes that add results, and let others wait for this one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, folder, wait=True)
        yield
    finally:
        os.close(descriptor)


def _key(run: dict[str, Any]) -> tuple[float, int]:
    return run["learning_rate"], run["seed"]


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"--out: cannot write to {folder}: {error.strerror}; name another folder") from None


class _Epoch(BaseModel):
    """The keys that are read of an epoch. A file may hold more."""

    model_config = ConfigDict(strict=True)

    epoch: int
    loss: float | None
    metrics: dict[str, float]


class _Run(BaseModel):
    """The keys that are read of a training. A file may hold more."""

    model_config = ConfigDict(strict=True)

    learning_rate: float
    seed: int
    epochs: list[_Epoch] = Field(min_length=1)
    final: dict[str, float]


class _Recorded(BaseModel):
    """All keys of results.json. An unknown key is refused: it may be the damaged key of the hash."""

    model_config = ConfigDict(extra="forbid", strict=True)

    settings: dict[str, Any]
    metrics: list[str]
    runs: list[_Run]
    task: Any = None
    model: Any = None
    sizes: Any = None
    baseline: Any = None
    machine: Any = None
    rates: Any = None
    best: Any = None


def _read(path: Path, settings: Settings) -> list[dict[str, Any]]:
    """Read the trainings of a file. Empty if the file does not exist. Earlier versions wrote it without a hash."""
    if not path.exists():
        return []
    try:
        values, _ = read_hashed(path)
        recorded = _Recorded.model_validate(values)
        measured = [metrics for run in recorded.runs for metrics in (run.final, *(one.metrics for one in run.epochs))]
        if any(not metrics.keys() >= set(recorded.metrics) for metrics in measured):
            raise ValueError("a metric is missing")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # ValidationError is a subclass
        raise UserError(f"{path}: damaged; remove it, or use another folder with --out") from None
    settings.check(recorded.settings, str(path))
    return values["runs"]
