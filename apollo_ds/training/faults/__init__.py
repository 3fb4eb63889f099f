"""What a run does when something goes wrong: signals, hangs, crashes, loss spikes."""
