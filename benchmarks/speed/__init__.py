"""The parts of throughput.py: who runs against whom, on what, and how it is timed."""
