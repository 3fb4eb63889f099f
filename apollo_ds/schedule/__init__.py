"""What each step of a run does: stages, drawn depths, learning rates. Nothing here holds tensors."""
