"""Training with DeepSpeed. No other package of this project imports it."""
