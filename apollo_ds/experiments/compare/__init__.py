"""Compare runs from their folders: at equal loss, at equal FLOPs, by seed, by stage, and around growths."""
