"""The parts of gpu_trial.sh that need Python: killing a run, timing steps, and judging what all parts came to."""
