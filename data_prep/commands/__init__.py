"""The commands of `apollo-prep`, one file each: what it takes, and what it prints."""

GROUPS = {
    "Commands": {
        "build": "Make shards from text.",
        "adopt": "Use shards from Megatron-LM, NeMo or gpt-neox.",
        "inspect": "Check shards, and show what is in them.",
    }
}
"""The commands by the title that the help has above them, and the first sentence of each one's own help."""
