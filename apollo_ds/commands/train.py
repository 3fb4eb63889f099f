"""`apollo-ds train`: train a recipe to its end, or resume it where it stopped."""

import sys

from apollo_ds.commands.arguments import Keys, LocalRank, Ranks, Recipe, words_of

EXAMPLES = """
apollo-ds train
apollo-ds train bert-base data=data/mine out=runs/mine
apollo-ds train my.yaml method=scratch seed=1 out=runs/scratch-1
"""


def train(recipe: Recipe = None, keys: Keys = None, ranks: Ranks = None, local_rank: LocalRank = None) -> None:
    """Train a recipe, or resume a run that was stopped.

    It trains on every GPU of this machine. The folder that the key `out` names holds the run. If it holds a run of the
    same recipe already, training goes on from the newest checkpoint.

    `apollo-ds keys` explains the keys of a recipe and the methods. `apollo-ds plan` takes the same words, and shows
    what they cost.
    """
    from apollo_ds.training.start import train_by_command

    sys.exit(train_by_command(words_of(recipe, keys), ranks))
