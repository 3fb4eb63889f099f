"""Many runs from one file: every combination of some of a recipe's keys, one run after another."""

from apollo_ds.sweep.grid import Cell, Grid
from apollo_ds.sweep.runner import Sweep, is_complete

__all__ = ["Cell", "Grid", "Sweep", "is_complete"]
