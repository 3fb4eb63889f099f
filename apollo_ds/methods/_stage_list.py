"""Reads and checks a list of stages in a recipe."""

from collections.abc import Sequence
from math import isclose

from pydantic import Field

from apollo_ds.checked import Checked
from apollo_ds.errors import UserError
from apollo_ds.methods._base import Run
from apollo_ds.methods._layer_counts import fewest_layers
from apollo_ds.models.families import family_of

_SUM_TOLERANCE = 1e-6
"""The largest difference from 1 that the sum of a list's fractions may have; three of 0.333333 must pass."""


class StageSizes(Checked):
    """One stage of a list. If a size is not given, it is the full model's."""

    fraction: float = Field(gt=0, le=1)
    """The part of the run's steps that the stage takes. Those of a list add up to 1."""
    layers: int | None = Field(default=None, ge=1)
    """Layers of the stage's model; never fewer than in the stage before."""
    intermediate_size: int | None = Field(default=None, ge=1)
    """Width of its feed-forward part, in units; never less than in the stage before."""
    seq_len: int | None = Field(default=None, ge=1)
    """Tokens of its samples, which must divide the recipe's `seq_len`; never fewer than in the stage before."""
    feed_forward_rank: int | None = Field(default=None, ge=1)
    """Hold each feed-forward matrix as two factors of this rank. The rank stays the same from stage to stage, until the
    matrices are whole."""
    pool: int = Field(default=1, ge=1)
    """How many neighbouring tokens the layers see as one, the mean of their embeddings. It divides the stage's
    `seq_len`, is never more than in the stage before, and 1 in the last. For masked models."""
    learning_rate_scale: float = Field(default=1.0, gt=0, le=1000)
    """The schedule's learning rate is multiplied by this."""


def sizes_of(key: str, stages: Sequence[StageSizes], run: Run) -> list[dict[str, int]]:
    """Return the layers, intermediate_size and seq_len of each stage of the list at `key` of a recipe.

    Raises:
        UserError: a size does not fit the model or becomes smaller, the last stage is not the whole model, or the
            fractions do not add up to 1.
    """
    whole = {
        "layers": run.shape.num_layers,
        "intermediate_size": run.shape.intermediate_size,
        "seq_len": run.seq_len,
    }
    total = sum(stage.fraction for stage in stages)
    if not isclose(total, 1.0, abs_tol=_SUM_TOLERANCE):
        raise UserError(f"{key}: the fractions of its {len(stages)} stages add up to {total:.6g}; let them add up to 1")
    _check_pools(key, stages, run)
    _check_ranks(key, stages)
    found = [{size: getattr(stage, size) or most for size, most in whole.items()} for stage in stages]
    for size, most in whole.items():
        _check_size(key, size, [sizes[size] for sizes in found], most)
    for number, (sizes, stage) in enumerate(zip(found, stages, strict=True)):
        _check_rank_fits(f"{key}[{number}].feed_forward_rank", sizes["intermediate_size"], stage, run)
        fewest = fewest_layers(run.shape)
        if sizes["layers"] < fewest:
            raise UserError(
                f"{key}[{number}].layers: the first layer of a {run.shape.family} is unlike the others, so a stage has "
                f"at least {fewest}, not {sizes['layers']}"
            )
        if run.seq_len % sizes["seq_len"]:
            raise UserError(
                f"{key}[{number}].seq_len: {sizes['seq_len']} does not divide seq_len {run.seq_len}, whose samples are "
                "cut into shorter ones; use a number that does"
            )
    return found


def _check_size(key: str, size: str, of_stages: Sequence[int], most: int) -> None:
    before = 0
    for number, value in enumerate(of_stages):
        if value > most:
            raise UserError(f"{key}[{number}].{size}: {value:,} is more than the model's {most:,}; use at most that")
        if value < before:
            raise UserError(
                f"{key}[{number}].{size}: {value:,} is less than {before:,} in the stage before, and a model only "
                "grows; put the stages in order"
            )
        before = value
    if before != most:
        raise UserError(
            f"{key}[{len(of_stages) - 1}].{size}: the last stage trains the whole model, so it is {most:,}, not "
            f"{before:,}; remove it, or add such a stage"
        )


def _check_pools(key: str, stages: Sequence[StageSizes], run: Run) -> None:
    before = stages[0].pool
    for number, stage in enumerate(stages):
        here, seq_len = f"{key}[{number}].pool", stage.seq_len or run.seq_len
        if stage.pool > 1 and not family_of(run.shape).is_masked:
            raise UserError(
                f"{here}: a {run.shape.family} continues text, and a pooled token would see the token that it is to "
                "predict; use a masked model, or a shorter seq_len"
            )
        if seq_len % stage.pool:
            raise UserError(
                f"{here}: {stage.pool} does not divide the stage's {seq_len} tokens; use a number that does"
            )
        if stage.pool > before:
            raise UserError(
                f"{here}: {stage.pool} tokens are more than the {before} of the stage before, and pools must not "
                "become larger; put the stages in order"
            )
        before = stage.pool
    if before > 1:
        raise UserError(f"{key}[{len(stages) - 1}].pool: the last stage sees every token; remove it, or add a stage")


def _check_ranks(key: str, stages: Sequence[StageSizes]) -> None:
    before = stages[0].feed_forward_rank
    for number, stage in enumerate(stages):
        rank = stage.feed_forward_rank
        if rank not in (None, before):
            known = "whole matrices" if before is None else f"rank {before}"
            raise UserError(
                f"{key}[{number}].feed_forward_rank: {rank} after {known} in the stage before, and factors keep their "
                "rank until they are multiplied out; use one rank in the first stages"
            )
        before = rank
    if before is not None:
        raise UserError(
            f"{key}[{len(stages) - 1}].feed_forward_rank: the last stage has whole matrices; remove it, or add a stage"
        )


def _check_rank_fits(key: str, inner: int, stage: StageSizes, run: Run) -> None:
    rank, hidden = stage.feed_forward_rank, run.shape.hidden_size
    if rank is not None and rank * (hidden + inner) >= hidden * inner:
        raise UserError(
            f"{key}: factors of rank {rank} hold no less than a matrix of {hidden} x {inner}; use at most "
            f"{(hidden * inner - 1) // (hidden + inner)}"
        )
