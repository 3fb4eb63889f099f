"""Runs of fixed models, written by hand, whose losses follow a law."""

from pathlib import Path
from typing import Any

from histories import recipe, write_run

from apollo_ds.experiments.compare.frontier import Frontier
from apollo_ds.experiments.compare.groups import Group, group_runs
from apollo_ds.experiments.history import RunHistory


def sizes(layers: int = 6, **changes: Any) -> dict[str, Any]:
    """A model of so many layers."""
    return {**recipe()["model"], "num_layers": layers, **changes}


def write_fixed(
    folder: Path, teraflops: float, loss: float | None, layers: int = 6, seed: int = 1, **changes: Any
) -> Path:
    """A finished run from scratch that has decayed; 100 steps a TFLOP unless `changes` says otherwise."""
    values = {"steps": round(100 * teraflops), "model": sizes(layers), "lr_schedule": "wsd", "decay_fraction": 0.2}
    return write_run(folder, [(teraflops / 2, 9.0), (teraflops, loss)], seed=seed, **{**values, **changes})


def frontier_of(*folders: Path) -> Frontier:
    """Return the frontier of these runs."""
    return Frontier.of([RunHistory.read(folder) for folder in folders])


def groups_of(*folders: Path) -> list[Group]:
    """These runs by recipe."""
    return group_runs([RunHistory.read(folder) for folder in folders])
