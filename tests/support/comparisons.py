"""Runs to compare, and the page that shows them."""

from pathlib import Path

from histories import rows, write_run

from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.page import lines_of

SCRATCH = [(40, 4.0), (80, 2.5), (100, 2.0)]


def scratch(folder: Path) -> list[Path]:
    """Three seeds that end at 1.9, 2.0 and 2.1, after 100 TFLOPs, 100 seconds and 3,000 tokens."""
    finals = enumerate((1.9, 2.0, 2.1), 1)
    return [write_run(folder / f"s{seed}", [*SCRATCH[:2], (100, loss)], seed=seed) for seed, loss in finals]


def page(folders: list[Path], baseline: str | None = None) -> str:
    return "\n".join(lines_of(Comparison.of(folders, baseline)))


def row(text: str, column: str, recipe: str) -> dict[str, str]:
    """The recipe's row in the first table that has the column."""
    (found,) = [row for row in rows(text, column) if row["recipe"] == recipe]
    return found
