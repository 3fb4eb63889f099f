"""What came out of a run, in one sentence."""

from math import exp, inf, isfinite, log

from apollo_ds.experiments.history import Event, RunHistory
from apollo_ds.models.families import shape_class_of
from apollo_ds.models.flops import training_flops

_PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_MOST = 1e6
"""A perplexity above this says nothing that the loss does not."""


def outcome(run: RunHistory) -> str:
    """The last held-out loss, what it took, and how much that is of what all layers would have taken.

    `This run came to a held-out loss of 5.224 nats per token (perplexity 186) after 600 steps, for 22.7 TFLOPs: 93.9%
    of what the same steps cost with all 12 layers.`
    """
    final = run.final
    spent = f"after {final.step:,} step{'' if final.step == 1 else 's'}, for {flops_text(final.cost.flops)}"
    cost = f"{spent}: {final.cost.flops / full_cost(run):.1%} of what the same steps cost with {_all_layers(run)}"
    if not isfinite(final.loss):
        return f"This run went wrong: its held-out loss is not finite {cost}."
    loss = f"a held-out loss of {final.loss:.3f} nats per token{_in_other_words(run.evals[-1], final.loss)}"
    verb = "came to" if run.finished else "has not come to its end; so far it has come to"
    told = f"This run {verb} {loss} {cost}."
    if final.loss >= run.start.get("unigram_entropy", inf):
        entropy = run.start["unigram_entropy"]
        told += f" It has learned nothing yet that a guess without context does not know, whose loss is {entropy:.3f}."
    return told


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


def _all_layers(run: RunHistory) -> str:
    layers = run.recipe["model"]["num_layers"]
    return f"all {layers} layers" if layers > 1 else "its one layer"


def _in_other_words(evaluation: Event, loss: float) -> str:
    told = [f"perplexity {exp(loss):,.3g}"] if loss < log(_MOST) else []
    told += [f"{evaluation['bits_per_byte']:.2f} bits a byte"] if "bits_per_byte" in evaluation else []
    return f" ({', '.join(told)})" if told else ""
