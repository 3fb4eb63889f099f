"""Many runs from one file: every combination of some of a recipe's keys, one run after another."""
