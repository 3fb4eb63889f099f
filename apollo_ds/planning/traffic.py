"""Compute the bytes that a rank sends: in a step under each ZeRO stage, in a growth, and while an engine is made.

The numbers are for a ring of N ranks. For a tensor of S bytes, each rank sends and receives S (N - 1) / N bytes if its
parts are gathered, if sums are scattered, or if each part goes from its owner to all. An all-reduce is a scatter and a
gather, so it takes twice that (Rajbhandari et al. 2020, ZeRO, section 7.1).

The operations are those of DeepSpeed 0.19.8, which `tests/distributed/test_traffic.py` counts. At ZeRO 1 and 2 they are
more than the paper says. Other exchanges, such as the gradient norm, are a few bytes and are not counted.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.families import family_of
from apollo_ds.models.flops import layer_parameters, parameters
from apollo_ds.models.frozen import NOTHING_FROZEN, Frozen
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.micro_batch import samples_at_once
from apollo_ds.planning.optimizer_state import moment_bytes, momentum_only
from apollo_ds.planning.stage_size import parameters_of, trained_of
from apollo_ds.schedule.stage import Stage

_WEIGHT_BYTES, _MOMENT_BYTES, _COHORT_BYTES = 4, 4, 1
"""The bytes of a parameter in a training state, which is in fp32."""
_ALL_REDUCE = 2
"""A ring passes a tensor on twice for an all-reduce: to sum it, and to gather it."""
_THERE_AND_BACK = 2


def ring(size: float, ranks: int) -> float:
    """The bytes that each rank sends to gather, or to sum and scatter, a tensor of `size` bytes."""
    return size * (ranks - 1) / ranks


def step_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """The bytes that a rank sends in a step of a stage at its greatest depth. The recipe must be settled.

    P is the number of weights, T the number of trained ones, and m the number of micro-batches. A number takes as many
    bytes as in the computation (2 in half precision). The following is multiplied by the ring's (N - 1) / N:

    - ZeRO 0: 2 T. Gradients are all-reduced once a step.
    - ZeRO 1: 3 T. Gradients are all-reduced once, and the new weights are gathered. (The paper's 2 T is a
      reduce-scatter. DeepSpeed comes close to it with `use_multi_rank_bucket_allreduce: false`, which sends each part
      to its owner.)
    - ZeRO 2: (2 m + 1) T. Gradients are all-reduced for each micro-batch.
    - ZeRO 3: m (2 P + T), as `_gathered` explains. It is more if layers run several times, or if their activations are
      checkpointed.

    Muon's matrices, of M weights in all, add 2 M / N at ZeRO 3, in fp32 unless the precision is bf16: the parts of each
    matrix go to one rank, in turn, and come back. At ZeRO 1 and 2 only matrices that lie across two shards do so. They
    are fewer than the ranks, and are not counted.

    Ranks that share samples also exchange tokens for heads, as `_exchanged` explains.

    Raises:
        UserError: the number of ranks does not divide the global batch.
    """
    number = 4 if precision(recipe.deepspeed) == "fp32" else 2
    trained = trained_of(stage)
    depth = stage.evaluation_depth
    at_once = samples_at_once(recipe, stage, depth - stage.first_trained(depth), ranks)
    micro_batches = recipe.global_batch_size // (recipe.sample_groups(ranks) * at_once)
    if zero == 3:
        numbers = micro_batches * (_gathered(recipe, stage, depth) + trained)
    else:
        sums = _ALL_REDUCE if zero == 0 or _sums_everywhere(recipe) else 1
        numbers = sums * trained * (micro_batches if zero == 2 else 1) + (trained if zero else 0)
    exchanged = number * _exchanged(recipe, stage, depth, ranks)
    updates = _THERE_AND_BACK * (2 if precision(recipe.deepspeed) == "bf16" else 4) * momentum_only(recipe, stage)
    sent = number * numbers + (updates / ranks if zero == 3 else 0)
    return ring(sent, ranks) + ring(exchanged, recipe.sequence_parallel)


def _exchanged(recipe: Recipe, stage: Stage, depth: int, ranks: int) -> float:
    """How many numbers a rank exchanges in a step with the ranks that share its samples, with its own part.

    For each of its tokens these are queries, keys, values, and the result of attention. They are exchanged in the
    forward and the backward pass of each layer, and once more if activations are checkpointed. A masked model also
    exchanges the hidden states of its scored positions, there and back.
    """
    degree, family, hidden = recipe.sequence_parallel, family_of(stage.shape), stage.shape.hidden_size
    if degree == 1:
        return 0.0
    samples = recipe.global_batch_size // recipe.sample_groups(ranks)
    trained = depth - stage.first_trained(depth)
    again = trained if recipe.activation_checkpointing and stage.learned_growth is None else 0
    tokens = samples * stage.pooled_len / degree
    # Every rank has the same number of scored positions in each sample. Some are there only to make the numbers equal.
    scored = samples * degree * -(-family.scored_positions(stage.seq_len) // degree) if family.is_masked else 0
    return _exchanged_a_token(stage.shape, degree) * tokens * (depth + trained + again) + hidden * 2 * scored


def _exchanged_a_token(shape: ModelShape, degree: int) -> int:
    """How many numbers a token's query, key, value and result have. Keys and values for too few heads are copied."""
    copies = degree // gcd(degree, shape.key_value_heads)
    return shape.head_size * 2 * (shape.num_heads + copies * shape.key_value_heads)


def _sums_everywhere(recipe: Recipe) -> bool:
    """Whether at ZeRO 1 and 2 each rank gets the sums of all gradients, and not only of those that it owns."""
    zero = recipe.deepspeed.get("zero_optimization", {})
    return bool(zero.get("use_multi_rank_bucket_allreduce", True) or not zero.get("reduce_scatter", True))


def _gathered(recipe: Recipe, stage: Stage, depth: int) -> int:
    """How many weights a rank gathers for a micro-batch at ZeRO 3. A weight that is gathered twice counts twice.

    A layer is gathered once in the forward and once in the backward pass, each time it runs. It runs once more if
    activations are checkpointed. Then the last matrix of a pre-norm layer stays until it is needed. Embeddings that no
    gradient reaches are not gathered in the backward pass, unless the matrix is the head's too.

    This is an upper bound. A layer that runs several times stays in the backward pass. If all steps run the same
    layers, DeepSpeed keeps weights that are used again within `stage3_max_reuse_distance` numbers, by default half a
    billion.
    """
    family, shape = family_of(stage.shape), stage.shape
    layer, rank = layer_parameters(shape, stage.feed_forward_rank), stage.feed_forward_rank
    outside = above = parameters(shape, 0)
    if stage.first_trained(depth):
        above -= family.embedding_parameters(shape)
        above += shape.vocab_size * shape.hidden_size if family.ties_head(shape) else 0
    trained = depth - stage.first_trained(depth)
    missing = family.missing_in_first_layer(shape) if depth else 0
    passes = 1 + (trained == depth)  # in which the first layer is gathered, without the part that only the others have
    again = 0
    if recipe.activation_checkpointing and stage.learned_growth is None:
        hidden, inner = shape.hidden_size, shape.intermediate_size
        last = hidden * inner + hidden if rank is None else rank * (hidden + inner) + hidden
        again = trained * (layer - (last if family.is_pre_norm else 0))
    return outside + depth * layer + above + trained * layer - passes * missing + again


def growths(stages: Sequence[Stage]) -> list[int]:
    """The numbers of the stages that begin with a growth: a new engine gets the state of the one before."""
    return [number for number in range(1, len(stages)) if not stages[number].continues(stages[number - 1])]


def has_cohorts(stages: Sequence[Stage], number: int) -> bool:
    """Whether the state in a stage has one more byte a parameter, which tells the age of its moments.

    It has this byte from the first growth on after which some trained parameters are younger than others, or have a
    learning rate of their own. In an optimizer that begins anew all parameters have one age.
    """
    found = False
    for at in growths(stages):
        old, new = stages[at - 1], stages[at]
        if at > number:
            break
        if old.learned_growth or new.learned_growth:
            found = False
        elif new.growth.moments == "reset":
            found = new.growth.rewarm == "new"
        else:
            found = found or _parts_ages(old, new)
    return found


def _parts_ages(old: Stage, new: Stage) -> bool:
    """Whether a growth that keeps moments makes a new cohort, as `growth.weights_and_moments.Growth` explains."""
    rule = new.growth
    without_moments = rule.new_layers != "copy" or rule.moments in ("zero_new", "keep_index") or old.frozen.layers
    has_extra_units = rule.width == "averaged" and new.shape.hidden_size % old.shape.hidden_size
    return bool(without_moments or has_extra_units or rule.rewarm == "new" or _multiplies_out(old, new))


def _multiplies_out(old: Stage, new: Stage) -> bool:
    """Whether factors are multiplied out: the products have no moments yet, while other parameters keep theirs."""
    return old.feed_forward_rank != new.feed_forward_rank


def growth_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """The bytes that a rank sends in the growth into a stage: the old state is summed over all ranks.

    This takes 2 x 4 bytes for each parameter of the old model, trained or not. It takes another 2 x 8 bytes for the
    moments of each one that becomes a trained parameter: 2 x 9 with cohorts, and 2 x 4 fewer for Muon's matrices.
    `spread_bytes` comes on top.
    """
    old, new = stages[number - 1], stages[number]
    kept = _goes_on(old, new)
    each = 2 * _MOMENT_BYTES + (_COHORT_BYTES if has_cohorts(stages, number - 1) else 0)
    moved = each * trained_of(kept)
    moved -= _MOMENT_BYTES * momentum_only(recipe, kept)
    gathered = _ALL_REDUCE * (_WEIGHT_BYTES * parameters_of(old) + moved)
    return ring(gathered, ranks) + spread_bytes(recipe, new, zero, ranks)


def _goes_on(old: Stage, new: Stage) -> Stage:
    """The old stage, in which parameters are frozen if nothing of them becomes trained."""
    if not new.frozen.layers or old.learned_growth or new.learned_growth:
        return replace(old, frozen=NOTHING_FROZEN)
    used = {old_layer for layer, old_layer in enumerate(new.grown_from(old)) if layer not in new.frozen.layers}
    unused = tuple(layer for layer in range(old.unique_layers) if layer not in used)
    return replace(old, frozen=Frozen(unused, head=new.frozen.head))


def resume_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """The bytes that a rank sends when a stage is resumed from a checkpoint, without those that it reads.

    If every rank holds all of something, each reads a share of it, and the shares are summed over all ranks. This is
    the whole state at ZeRO 0, and always the frozen weights. `spread_bytes` comes on top.
    """
    stage = stages[number]
    frozen = parameters_of(stage) - trained_of(stage)
    joined = checkpoint_bytes(recipe, stages, number) if zero == 0 else _WEIGHT_BYTES * frozen
    return ring(_ALL_REDUCE * joined, ranks) + spread_bytes(recipe, stage, zero, ranks)


def spread_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """The bytes that a rank sends while an engine is made and filled, whatever it is filled with.

    At ZeRO 0, 1 and 2 DeepSpeed sends all weights from the first rank to the others when it makes an engine, even
    those that will be overwritten. At 3 it gathers each trained weight once to inspect it. At 1 and 2 each part of the
    state's weights then goes from its owner to all ranks.
    """
    number = 4 if precision(recipe.deepspeed) == "fp32" else 2
    trained, everything = trained_of(stage), parameters_of(stage)
    return ring(number * (trained if zero == 3 else everything + (trained if zero else 0)), ranks)


def checkpoint_bytes(recipe: Recipe, stages: Sequence[Stage], number: int) -> int:
    """The bytes of a checkpoint of a stage: 12 for a trained parameter (13 with cohorts), 4 for a frozen one.

    A parameter of a matrix that Muon trains takes 4 fewer. Manifests and counters add a few kilobytes.
    """
    stage = stages[number]
    frozen = parameters_of(stage) - trained_of(stage)
    each = _WEIGHT_BYTES + (_COHORT_BYTES if has_cohorts(stages, number) else 0)
    return each * trained_of(stage) + moment_bytes(recipe, stage) + _WEIGHT_BYTES * frozen
