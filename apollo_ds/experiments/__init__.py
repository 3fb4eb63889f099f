"""Read finished runs, write reports and comparisons of them, and run sweeps over recipes."""
