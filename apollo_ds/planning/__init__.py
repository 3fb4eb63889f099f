"""Compute what a recipe costs before it is trained: operations, memory and time."""
