"""Prepared text, and the batches that a run reads from it."""
