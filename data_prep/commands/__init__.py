"""The commands of `apollo-prep`, one file each: what it takes, and what it prints."""
