"""Turn text into memory-mapped shards of tokens: sources, cleaning, tokenizers, resumable encoding, verification."""
