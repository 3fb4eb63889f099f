"""Whether runs learned anything: what a guess without context comes to is nothing that could have cost less."""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean

from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.text import listed, loss_text
from apollo_ds.experiments.history import RunHistory

GUESS = "which a guess without context comes to"
_HARDLY = 0.05
"""A loss less than this part below the unigram entropy tells of hardly any learning."""


def unigram_entropy(run: RunHistory) -> float | None:
    """The loss of the best guess without context, in nats per token; None where an earlier version did not record it.

    The same for all runs that can be compared.
    """
    return run.start.get("unigram_entropy")


def is_learned(loss: float, entropy: float | None) -> bool:
    """Whether a held-out loss says that anything was learned, so that reaching it for less is a saving."""
    return entropy is None or loss < entropy


def learning_remarks(groups: Sequence[Group]) -> list[str]:
    """Which recipes learned nothing, and which hardly anything, in sentences."""
    ends = [(group.name, fmean(run.final.loss for run in group.shown), _entropy(group)) for group in groups]
    known = [(name, loss, entropy) for name, loss, entropy in ends if entropy is not None and isfinite(loss)]
    nothing = [(name, loss) for name, loss, entropy in known if not is_learned(loss, entropy)]
    hardly = [(name, loss) for name, loss, entropy in known if (1 - _HARDLY) * entropy <= loss < entropy]
    guess = "" if not known else f"{loss_text(known[0][2])}, the unigram entropy of the text, {GUESS}"
    remarks = []
    if nothing:
        remarks.append(f"Nothing was learned by {_with_losses(nothing)}: not below {guess}.")
    if hardly:
        remarks.append(
            f"Hardly anything was learned by {_with_losses(hardly)}: less than {_HARDLY:.0%} below {guess}. What is "
            "saved so early in training says little of what is saved later."
        )
    return remarks


def _entropy(group: Group) -> float | None:
    return unigram_entropy(group.runs[0])


def _with_losses(recipes: Sequence[tuple[str, float]]) -> str:
    return listed([f"{name} ({loss_text(loss)} nats per token)" for name, loss in recipes])
