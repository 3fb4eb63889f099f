"""`apollo-ds train`: train a recipe to its end, or go on where it stopped."""

import sys

from apollo_ds.commands.arguments import LocalRank, Ranks, Words

EXAMPLES = """
apollo-ds train

apollo-ds train bert-base data=data/mine out=runs/mine

apollo-ds train my.yaml method=scratch seed=1 out=runs/scratch-1
"""


def train(words: Words = None, ranks: Ranks = None, local_rank: LocalRank = None) -> None:
    """Train a recipe on every GPU of this machine, or on two CPU ranks. The same command resumes a stopped run."""
    from apollo_ds.training.start import train_by_command

    sys.exit(train_by_command(words or [], ranks))
