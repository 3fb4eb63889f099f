"""Text to tokens to memory-mapped shards: sources, cleaning, tokenizers, resumable encoding, verification."""
