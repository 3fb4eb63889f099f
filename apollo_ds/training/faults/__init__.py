"""The handling of faults: signals, hangs, crashes and loss spikes."""
