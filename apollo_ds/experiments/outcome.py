"""What came out of a run, in one sentence."""

from math import exp, isfinite

from apollo_ds.experiments.compare.measures import is_learned, unigram_entropy
from apollo_ds.experiments.history import RunHistory
from apollo_ds.models.families import shape_class_of
from apollo_ds.models.flops import training_flops

_PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_MOST = 20.0
"""Nats above which a perplexity says nothing that the loss does not."""


def outcome(run: RunHistory) -> str:
    """The last held-out loss, what it took, and how much that is of what training all layers would have taken.

    `This run came to a held-out loss of 5.224 nats per token (perplexity 186) after 600 steps for 22.7 TFLOPs, 93.9% of
    what training all 12 layers for the same steps costs.`
    """
    final, steps = run.final, run.recipe["steps"]
    spent = f"for {flops_text(final.cost.flops)}{_against_all_layers(run)}"
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
    others = [f"perplexity {exp(loss):,.3g}"] if loss < _MOST else []
    others += [f"{last['bits_per_byte']:.2f} bits a byte"] if "bits_per_byte" in last else []
    return f"a held-out loss of {loss:,.3f} nats per token" + (f" ({', '.join(others)})" if others else "")


def _against_all_layers(run: RunHistory) -> str:
    part, layers = run.final.cost.flops / full_cost(run), run.recipe["model"]["num_layers"]
    if f"{part:.1%}" == "100.0%":
        return "" if layers == 1 else f", all {layers} layers in each step"
    whole = f"all {layers} layers" if layers > 1 else "its layer"
    return f", {part:.1%} of what training {whole} for the same steps costs"


def full_cost(run: RunHistory) -> float:
    """FLOPs of the steps so far if each had run all layers of the model at full length, in closed form."""
    recipe = run.recipe
    shape = shape_class_of(recipe["model"]).model_validate(recipe["model"])
    a_step = training_flops(shape, shape.num_layers, recipe["seq_len"], recipe["global_batch_size"])
    return a_step * run.final.step


def flops_text(flops: float) -> str:
    """Three digits with a prefix, such as 22.7 TFLOPs."""
    prefix, unit = next(((prefix, unit) for prefix, unit in _PREFIXES if flops >= unit), ("", 1.0))
    return f"{flops / unit:.3g} {prefix}FLOPs"
