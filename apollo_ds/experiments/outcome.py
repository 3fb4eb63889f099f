"""Say the result of a run in one sentence."""

from math import isfinite

from apollo_ds.experiments.compare.measures import is_learned, unigram_entropy
from apollo_ds.experiments.history import RunHistory
from apollo_ds.models.families import shape_class_of
from apollo_ds.planning.all_layers import AllLayers
from apollo_ds.planning.in_words import MOST_NATS, flops_in_words, loss_in_words, perplexity_in_words
from data_prep.counted import counted


def outcome(run: RunHistory) -> str:
    """The last held-out loss, the cost, and this cost compared with that of all layers. For example:

    `This run came to a held-out loss of 5.224 nats per token (perplexity 185.7) after 600 steps for 22.7 TFLOP, 93.9%
    of what all 12 layers would have taken on the same tokens.`
    """
    final, steps = run.final, run.recipe["steps"]
    spent = f"for {flops_in_words(final.cost.flops)}{_against_all_layers(run)}"
    if run.finished:
        told = f"This run came to {_loss_in_words(run)} after {counted(final.step, 'step')} {spent}."
    else:
        so_far = f"it has {_loss_in_words(run)} after {final.step:,} of {counted(steps, 'step')}"
        told = f"This run has not come to its end: {so_far} {spent}."
    entropy = unigram_entropy(run)
    if entropy is not None and isfinite(final.loss) and not is_learned(final.loss, entropy):
        told += f" Nothing is learned yet: a guess without context has a loss of {loss_in_words(entropy, 3)}."
    return told


def _loss_in_words(run: RunHistory) -> str:
    loss, last = run.final.loss, run.evals[-1]
    if not isfinite(loss):
        return "no finite held-out loss"
    others = [f"perplexity {perplexity_in_words(loss)}"] if loss < MOST_NATS else []
    others += [f"{last['bits_per_byte']:.2f} bits a byte"] if "bits_per_byte" in last else []
    return f"a held-out loss of {loss_in_words(loss, 3)} nats per token" + (f" ({', '.join(others)})" if others else "")


def _against_all_layers(run: RunHistory) -> str:
    recipe = run.recipe
    shape = shape_class_of(recipe["model"]).model_validate(recipe["model"])
    whole = AllLayers.of_model(shape, recipe["seq_len"], run.source.flops if run.source else 0.0)
    share = whole.share(run.final.cost.flops, run.final.cost.tokens)
    if f"{share:.1%}" == "100.0%":
        return "" if whole.layers == 1 else f", all {whole.layers} layers in each step"
    layers = f"all {whole.layers} layers" if whole.layers > 1 else "its layer"
    before = f" (with {flops_in_words(whole.flops_before)} before it)" if whole.flops_before else ""
    return f"{before}, {share:.1%} of what {layers} would have taken on the same tokens"
