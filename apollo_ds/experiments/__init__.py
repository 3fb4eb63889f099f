"""Finished runs: their history, reports, comparisons, and sweeps over recipes."""
