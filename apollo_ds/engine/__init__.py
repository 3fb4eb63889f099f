"""DeepSpeed, and the only room that imports it."""
