"""The commands of `apollo-ds`, one file each: the arguments that a command takes, and what it prints.

Other subpackages do the work.
"""

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
        "generate": "Let a model continue a text.",
        "fill": "Let a masked model fill in the words that a sentence leaves out.",
        "eval": "Evaluate a model by tasks of lm-evaluation-harness.",
        "export": "Write a checkpoint as a transformers model.",
        "compare": "Compare runs at equal loss and at equal cost.",
        "finetune": "Fine-tune a model on a GLUE task or on SQuAD.",
    },
}
"""The groups of the help by their titles. Each has its commands, with the first sentence of each command's help."""
