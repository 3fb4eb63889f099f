"""The commands of `apollo-ds`, one file each: what it takes, and what it prints. Rooms below do the work."""

GROUPS = {
    "Train": {
        "init": "Write a recipe for your text and budget.",
        "plan": "Show the stages of a recipe and what they cost, without training.",
        "train": "Train a recipe, or resume a run that was stopped.",
        "keys": "Explain what a recipe may hold.",
        "sweep": "Train every recipe of a grid.",
    },
    "Use what was trained": {
        "runs": "List runs: how far each has come, its loss and its cost.",
        "export": "Write a checkpoint as a transformers model.",
        "compare": "Compare runs at equal loss and at equal cost.",
        "finetune": "Fine-tune a model on a GLUE task or on SQuAD.",
    },
}
"""The commands by the title that the help has above them, and the first sentence of each one's own help."""
