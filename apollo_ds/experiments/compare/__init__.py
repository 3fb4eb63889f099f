"""Runs side by side, from their folders alone: at equal loss, at equal FLOPs, by seed, by stage, around growths."""
