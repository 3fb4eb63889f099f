"""The commands of `apollo-ds`, one file each: what it takes, and what it prints. Rooms below do the work."""
