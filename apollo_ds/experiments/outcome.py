"""What came out of a run, in one sentence."""

from math import isfinite

from apollo_ds.experiments.compare.measures import is_learned, unigram_entropy
from apollo_ds.experiments.history import RunHistory
from apollo_ds.models.families import shape_class_of
from apollo_ds.planning.all_layers import AllLayers
from apollo_ds.planning.in_words import flops_in_words, perplexity_in_words
from apollo_ds.schedule.totals import Totals

_MOST = 20.0
"""Nats above which a perplexity says nothing that the loss does not."""


def outcome(run: RunHistory) -> str:
    """The last held-out loss, what it took, and how much that is of what training all layers would have taken.

    `This run came to a held-out loss of 5.224 nats per token (perplexity 185.7) after 600 steps for 22.7 TFLOP, 93.9%
    of what training all 12 layers on the same tokens costs.`
    """
    final, steps = run.final, run.recipe["steps"]
    spent = f"for {flops_in_words(final.cost.flops)}{_against_all_layers(run)}"
    if run.finished:
        told = f"This run came to {_loss_in_words(run)} after {_steps(final.step)} {spent}."
    else:
        so_far = f"after {final.step:,} of {_steps(steps)} it has {_loss_in_words(run)}"
        told = f"This run has not come to its end: {so_far} {spent}."
    entropy = unigram_entropy(run)
    if isfinite(final.loss) and not is_learned(final.loss, entropy):
        told += f" Nothing is learned yet: a guess without context has a loss of {entropy:.3f}."
    return told


def _steps(count: int) -> str:
    return f"{count:,} step" + ("" if count == 1 else "s")


def _loss_in_words(run: RunHistory) -> str:
    loss, last = run.final.loss, run.evals[-1]
    if not isfinite(loss):
        return "a held-out loss that is not finite"
    others = [f"perplexity {perplexity_in_words(loss)}"] if loss < _MOST else []
    others += [f"{last['bits_per_byte']:.2f} bits a byte"] if "bits_per_byte" in last else []
    return f"a held-out loss of {loss:,.3f} nats per token" + (f" ({', '.join(others)})" if others else "")


def _against_all_layers(run: RunHistory) -> str:
    part, layers = all_layers(run).share(_totals(run)), run.recipe["model"]["num_layers"]
    if f"{part:.1%}" == "100.0%":
        return "" if layers == 1 else f", all {layers} layers in each step"
    whole = f"all {layers} layers" if layers > 1 else "its layer"
    before = run.source.flops if run.source else 0.0
    counted = f" and {flops_in_words(before)} before it" if before else ""
    return f"{counted}, {part:.1%} of what training {whole} on the same tokens costs"


def all_layers(run: RunHistory) -> AllLayers:
    """What the run's cost is measured against, in closed form."""
    recipe = run.recipe
    shape = shape_class_of(recipe["model"]).model_validate(recipe["model"])
    return AllLayers.of_model(shape, recipe["seq_len"], run.source.flops if run.source else 0.0)


def _totals(run: RunHistory) -> Totals:
    cost = run.final.cost
    return Totals(run.final.step, int(cost.tokens), cost.flops, cost.seconds)
