"""The recipe: read, checked and completed; DeepSpeed's configuration; the run's folder."""
