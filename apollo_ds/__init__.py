"""Pretrain Transformers for a fraction of the compute by growing them while they train."""
