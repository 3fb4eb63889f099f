"""Bytes that a rank sends: in a step under each ZeRO stage, in a growth, and as an engine is made.

All are what a ring of N ranks takes. Of a tensor of S bytes each of them sends, and receives, S (N - 1) / N where its
parts are gathered, where sums are scattered, or where each part goes from its owner to all; an all-reduce is a scatter
and a gather, so twice that (Rajbhandari et al. 2020, ZeRO, section 7.1). Which of them happen is what DeepSpeed 0.19.8
does, counted in `tests/distributed/test_traffic.py`; at ZeRO 1 and 2 it is more than the paper says. What ranks
exchange besides, such as the gradient norm, is some bytes.
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
"""Of a parameter in a training state, which is in fp32."""
_ALL_REDUCE = 2
"""How many times a ring passes on what it sums and then gathers."""
_THERE_AND_BACK = 2


def ring(size: float, ranks: int) -> float:
    """Bytes that each rank sends to gather, or to sum and scatter, a tensor of so many bytes."""
    return size * (ranks - 1) / ranks


def step_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """Bytes that a rank sends in a step of a stage at its greatest depth, by a settled DeepSpeed configuration.

    With P weights, of which T are trained, in numbers of the computation (2 bytes in half precision), and m
    micro-batches, the ring's (N - 1) / N times:

    - ZeRO 0: 2 T. Gradients are all-reduced once a step.
    - ZeRO 1: 3 T. They are all-reduced once, and the new weights are gathered. (The paper's 2 T is a reduce-scatter,
      which DeepSpeed comes close to with `use_multi_rank_bucket_allreduce: false`: it sends each part to its owner.)
    - ZeRO 2: (2 m + 1) T. They are all-reduced for each micro-batch.
    - ZeRO 3: m (2 P + T), see `_gathered`; more where layers run several times or their activations are checkpointed.

    Muon's matrices of M weights in all take 2 M / N at ZeRO 3 on top, in fp32 unless the precision is bf16: the parts
    of each go to one rank, in turn, and come back. At ZeRO 1 and 2 those do that lie across two shards, of which there
    are fewer than ranks; they are not counted.

    Ranks that share samples also exchange tokens for heads, see `_exchanged`.

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
    """Numbers that a rank exchanges in a step with those that share its samples, its own part included.

    Of each of its tokens, queries, keys, values and what attention makes of them: in the forward and the backward of
    each layer, and once more where activations are checkpointed. A masked model also spreads the hidden states of its
    scored positions, there and back.
    """
    degree, family, hidden = recipe.sequence_parallel, family_of(stage.shape), stage.shape.hidden_size
    if degree == 1:
        return 0.0
    samples = recipe.global_batch_size // recipe.sample_groups(ranks)
    trained = depth - stage.first_trained(depth)
    again = trained if recipe.activation_checkpointing and stage.learned_growth is None else 0
    tokens = samples * stage.pooled_len / degree
    # Of each sample every rank has as many scored positions, some of them only to fill up.
    scored = samples * degree * -(-family.scored_positions(stage.seq_len) // degree) if family.is_masked else 0
    return _exchanged_a_token(stage.shape, degree) * tokens * (depth + trained + again) + hidden * 2 * scored


def _exchanged_a_token(shape: ModelShape, degree: int) -> int:
    """Numbers of a token's query, key, value and result. Keys and values that ranks cannot share are copied first."""
    copies = degree // gcd(degree, shape.key_value_heads)
    return shape.head_size * 2 * (shape.num_heads + copies * shape.key_value_heads)


def _sums_everywhere(recipe: Recipe) -> bool:
    """Whether each rank gets the sums of all gradients at ZeRO 1 and 2, and not of those only that it owns."""
    zero = recipe.deepspeed.get("zero_optimization", {})
    return bool(zero.get("use_multi_rank_bucket_allreduce", True) or not zero.get("reduce_scatter", True))


def _gathered(recipe: Recipe, stage: Stage, depth: int) -> int:
    """Weights that a rank gathers for a micro-batch at ZeRO 3, in numbers, as often as it does so.

    Once in the forward and once in the backward, each layer for each time it runs. It runs once more where activations
    are checkpointed; there the last matrix of a pre-norm layer stays until it is needed. Embeddings that no gradient
    reaches are not gathered in the backward, but for a matrix that is the head's too. It is the most that there can
    be: a layer that runs several times stays in the backward, and where all steps run the same layers, DeepSpeed keeps
    what is used again within `stage3_max_reuse_distance` numbers, half a billion weights by default.
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
    """The numbers of the stages that begin with a growth: a new engine is filled with the state of the one before."""
    return [number for number in range(1, len(stages)) if not stages[number].continues(stages[number - 1])]


def has_cohorts(stages: Sequence[Stage], number: int) -> bool:
    """Whether the state in a stage holds a byte more a parameter, which says how old its moments are.

    It does so from the first growth on after which a part of what trains is younger than the rest, or has a learning
    rate of its own. An optimizer that begins anew has one age for all.
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
    """Whether a growth that keeps moments leaves a cohort of its own; see `growth.weights_and_moments.Growth`."""
    rule = new.growth
    without_moments = rule.new_layers != "copy" or rule.moments in ("zero_new", "keep_index") or old.frozen.layers
    has_extra_units = rule.width == "averaged" and new.shape.hidden_size % old.shape.hidden_size
    return bool(without_moments or has_extra_units or rule.rewarm == "new" or _multiplies_out(old, new))


def _multiplies_out(old: Stage, new: Stage) -> bool:
    """Whether products of factors begin without moments beside others that keep theirs."""
    return old.feed_forward_rank != new.feed_forward_rank


def growth_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """Bytes that a rank sends when a stage is entered by a growth: what it is made of is summed over all ranks.

    That is 2 x 4 bytes a parameter of the old model, trained or not. On top of it 2 x 8 for the moments of those that
    become trained ones (9 with cohorts; 4 fewer for Muon's matrices), and what `spread_bytes` says.
    """
    old, new = stages[number - 1], stages[number]
    kept = _goes_on(old, new)
    each = 2 * _MOMENT_BYTES + (_COHORT_BYTES if has_cohorts(stages, number - 1) else 0)
    moved = each * trained_of(kept)
    moved -= _MOMENT_BYTES * momentum_only(recipe, kept)
    gathered = _ALL_REDUCE * (_WEIGHT_BYTES * parameters_of(old) + moved)
    return ring(gathered, ranks) + spread_bytes(recipe, new, zero, ranks)


def _goes_on(old: Stage, new: Stage) -> Stage:
    """The old stage, with that frozen of which nothing becomes trained."""
    if not new.frozen.layers or old.learned_growth or new.learned_growth:
        return replace(old, frozen=NOTHING_FROZEN)
    used = {old_layer for layer, old_layer in enumerate(new.grown_from(old)) if layer not in new.frozen.layers}
    unused = tuple(layer for layer in range(old.unique_layers) if layer not in used)
    return replace(old, frozen=Frozen(unused, head=new.frozen.head))


def resume_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """Bytes that a rank sends when a stage is resumed from a checkpoint, besides what it reads.

    What every rank holds whole, each reads a share of, and shares are summed over all ranks: of the whole state at ZeRO
    0, of frozen weights always. `spread_bytes` comes on top.
    """
    stage = stages[number]
    frozen = parameters_of(stage) - trained_of(stage)
    joined = checkpoint_bytes(recipe, stages, number) if zero == 0 else _WEIGHT_BYTES * frozen
    return ring(_ALL_REDUCE * joined, ranks) + spread_bytes(recipe, stage, zero, ranks)


def spread_bytes(recipe: Recipe, stage: Stage, zero: int, ranks: int) -> float:
    """Bytes that a rank sends while an engine is made and filled, whatever it is filled with.

    As it makes an engine, DeepSpeed sends all weights from the first rank to the others at ZeRO 0, 1 and 2, even those
    that will be overwritten; at 3 it gathers each trained one once, for a look at it. At 1 and 2 each part of the
    state's weights then goes from its owner to all.
    """
    number = 4 if precision(recipe.deepspeed) == "fp32" else 2
    trained, everything = trained_of(stage), parameters_of(stage)
    return ring(number * (trained if zero == 3 else everything + (trained if zero else 0)), ranks)


def checkpoint_bytes(recipe: Recipe, stages: Sequence[Stage], number: int) -> int:
    """Size of a checkpoint of a stage: 12 bytes a trained parameter (13 with cohorts), 4 a frozen one.

    A matrix that Muon trains has 4 fewer.

    Manifests and the counters come to some kilobytes more.
    """
    stage = stages[number]
    frozen = parameters_of(stage) - trained_of(stage)
    each = _WEIGHT_BYTES + (_COHORT_BYTES if has_cohorts(stages, number) else 0)
    return each * trained_of(stage) + moment_bytes(recipe, stage) + _WEIGHT_BYTES * frozen
