"""Bytes that a rank sends: in a step under each ZeRO stage, in a growth, and as an engine is made.

All are what a ring of N ranks takes. Of a tensor of S bytes each of them sends, and receives, S (N - 1) / N where its
parts are gathered, where sums are scattered, or where each part goes from its owner to all; an all-reduce is a scatter
and a gather, so twice that (Rajbhandari et al. 2020, ZeRO, section 7.1). Which of them happen is what DeepSpeed 0.19.8
does, counted in `tests/distributed/test_traffic.py`; at ZeRO 1 and 2 it is more than the paper says. What ranks
exchange besides, such as the gradient norm, is some bytes.
"""

from collections.abc import Sequence
from math import gcd

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.families import family_of
from apollo_ds.models.flops import layer_parameters, parameters
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.micro_batch import samples_at_once
from apollo_ds.planning.stage_size import parameters_of, trained_of
from apollo_ds.schedule.stage import Stage

_STATE_BYTES = 12
"""Of a parameter in a training state: its weight and Adam's two moments, in fp32."""
_WEIGHT_BYTES, _COHORT_BYTES = 4, 1
_ALL_REDUCE = 2
"""How many times a ring passes on what it sums and then gathers."""


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
    return ring(number * numbers, ranks) + ring(exchanged, recipe.sequence_parallel)


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
    again = 0
    if recipe.activation_checkpointing and stage.learned_growth is None:
        hidden, inner = shape.hidden_size, shape.intermediate_size
        last = hidden * inner + hidden if rank is None else rank * (hidden + inner) + hidden
        again = trained * (layer - (last if family.is_pre_norm else 0))
    return outside + depth * layer + above + trained * layer + again


def growths(stages: Sequence[Stage]) -> list[int]:
    """The numbers of the stages that begin with a growth: a new engine is filled with the state of the one before."""
    return [number for number in range(1, len(stages)) if not stages[number].continues(stages[number - 1])]


def has_cohorts(stages: Sequence[Stage], number: int) -> bool:
    """Whether the state in a stage holds a byte more a parameter, which says how old its moments are."""
    return any(
        stages[at].growth.moments in ("zero_new", "keep_index")
        or stages[at].growth.rewarm == "new"
        or _multiplies_out(stages[at - 1], stages[at])
        for at in growths(stages)
        if at <= number
    )


def _multiplies_out(old: Stage, new: Stage) -> bool:
    """Whether products of factors begin without moments beside others that keep theirs."""
    return old.feed_forward_rank != new.feed_forward_rank and new.growth.moments != "reset"


def growth_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """Bytes that a rank sends when a stage is entered by a growth: all of the old state is summed over all ranks.

    2 x 12 bytes a parameter of the old model (13 with cohorts), trained or not, and what `spread_bytes` says.
    """
    old = stages[number - 1]
    each = _STATE_BYTES + (_COHORT_BYTES if has_cohorts(stages, number - 1) else 0)
    gathered = _ALL_REDUCE * each * parameters_of(old)
    return ring(gathered, ranks) + spread_bytes(recipe, stages[number], zero, ranks)


def resume_bytes(recipe: Recipe, stages: Sequence[Stage], number: int, zero: int, ranks: int) -> float:
    """Bytes that a rank sends when a stage is resumed from a checkpoint, besides what it reads.

    What every rank holds whole, each reads a share of, and shares are summed over all ranks: of the whole state at ZeRO
    0, of frozen weights always. `spread_bytes` comes on top.
    """
    stage = stages[number]
    frozen = parameters_of(stage) - trained_of(stage)
    joined = checkpoint_bytes(stages, number) if zero == 0 else _WEIGHT_BYTES * frozen
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


def checkpoint_bytes(stages: Sequence[Stage], number: int) -> int:
    """Size of a checkpoint of a stage: 12 bytes a trained parameter (13 with cohorts), 4 a frozen one.

    Manifests and the counters come to some kilobytes more.
    """
    stage = stages[number]
    frozen = parameters_of(stage) - trained_of(stage)
    each = _STATE_BYTES + (_COHORT_BYTES if has_cohorts(stages, number) else 0)
    return each * trained_of(stage) + _WEIGHT_BYTES * frozen
