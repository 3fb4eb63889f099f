"""What a recipe costs before it is run: operations, memory, time."""
