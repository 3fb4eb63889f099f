"""Models: unmodified `transformers` classes, the order their blocks run in, their loss and their cost."""
