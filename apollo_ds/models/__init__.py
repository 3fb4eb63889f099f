"""Models: unmodified `transformers` classes, the order in which their blocks run, their loss and their cost."""
