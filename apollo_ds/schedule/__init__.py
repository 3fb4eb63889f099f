"""The schedule says what each step of a run does: its stage, depth and learning rate. Nothing here holds tensors."""
