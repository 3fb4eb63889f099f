"""The commands of `apollo-prep`, one file each: the arguments that a command takes, and what it prints."""

GROUPS = {
    "Commands": {
        "build": "Make shards from text.",
        "adopt": "Use shards from Megatron-LM, NeMo or gpt-neox.",
        "inspect": "Check shards, and show what is in them.",
    }
}
"""The groups of the help by their titles. Each has its commands, with the first sentence of each command's help."""
