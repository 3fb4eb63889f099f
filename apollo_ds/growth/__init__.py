"""Growth: what each parameter of a new model is made from, and what becomes of its Adam moments."""
