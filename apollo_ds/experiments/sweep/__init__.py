"""Train many runs from one file: one for every combination of values of some of a recipe's keys."""
