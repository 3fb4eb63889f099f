"""Models that `transformers` saved, a run's export among them: where they are, that they are sound, their tokenizer."""
