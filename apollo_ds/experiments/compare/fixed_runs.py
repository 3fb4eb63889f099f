"""Read the runs of fixed models. Such a run trains at full size from its first step, to the end of its decay."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.named_runs import named_runs
from apollo_ds.experiments.compare.recipes import method_in_words
from apollo_ds.experiments.history import RunHistory
from apollo_ds.methods.scratch import Scratch
from apollo_ds.schedule.learning_rate import Policy


def read_fixed(folders: Sequence[Path]) -> list[RunHistory]:
    """Read the runs in these folders. A run that is named several times comes once.

    Raises:
        UserError: a folder holds no run, or a run has no held-out loss yet.
    """
    return [RunHistory.read(folder) for folder in {folder.resolve(): folder for folder in named_runs(folders)}.values()]


def policy_of(run: RunHistory) -> Policy:
    """The policy by which the learning rate of a run from scratch falls."""
    return run.recipe.get("lr_schedule") or Scratch().lr_schedule


def check_fixed(run: RunHistory) -> None:
    """Check that a run is of a fixed model that was trained to its end.

    Raises:
        UserError: the run grew, started from what another run had learned, has not finished, has a learning rate that
            never falls, or has no loss at its last step. The message names the folder, the reason and the fix.
    """
    reason = _of_its_model(run) or _of_its_end(run)
    if reason:
        raise UserError(f"--frontier {run.folder}: {reason}")


def _of_its_model(run: RunHistory) -> str | None:
    method = method_in_words(run.recipe)
    if method != "scratch":
        return f"a frontier is of fixed models, and its method is {method}; name it as a RUN, or train with scratch"
    # A run that is read from a record of evidence has no depths in its steps.
    if run.growths or len({(step.get("unique_layers"), step.get("depth")) for step in run.steps}) > 1:
        return "the run that it goes on from did not run all layers in each step; branch off a run of scratch"
    if "source" in run.start:
        return (
            f"it starts from {run.start['source']}, whose cost is not in its own; train it from random weights, "
            "or branch off a run with branch_from, whose cost counts"
        )
    return None


def _of_its_end(run: RunHistory) -> str | None:
    if not run.finished:
        return f"it is {run.state}; resume it, or leave it out"
    recipe, policy = run.recipe, policy_of(run)
    never = policy == "constant" or (policy == "wsd" and not recipe.get("decay_fraction", 1))
    if never or recipe.get("final_lr_fraction") == 1:
        return (
            "its learning rate never falls, so its loss is no final one; branch off it with a decay: "
            f"branch_from={run.folder}@STEP lr_schedule=wsd"
        )
    if run.final.step < run.steps[-1]["step"] or not isfinite(run.final.loss):
        return "it has no finite held-out loss at its last step; leave it out, or train it again"
    return None
