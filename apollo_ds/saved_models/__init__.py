"""Models that `transformers` saved, such as a run's export: find them, check them, and load their tokenizer."""
