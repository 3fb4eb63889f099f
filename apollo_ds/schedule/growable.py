"""Checks that each stage of a run can be made from the one before it. Without torch, so planning can check it fast."""

from collections.abc import Sequence
from itertools import pairwise

from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import why_not_grown
from apollo_ds.schedule.stage import FRESH, Stage


def check_growths(stages: Sequence[Stage]) -> None:
    """Refuse stages that cannot follow each other. A learned operator makes any model from a smaller one.

    Raises:
        UserError: a stage cannot be made from the one before it.
    """
    for old, new in pairwise(stages):
        if not old.learned_growth and not new.learned_growth:
            check_growth(old, new)


def check_scales(stages: Sequence[Stage]) -> None:
    """Refuse `layernorm_scale` in a model whose branches do not read a normalisation of their own.

    Raises:
        UserError: a stage has such a model.
    """
    for stage in stages:
        if stage.shape.layernorm_scale and not family_of(stage.shape).is_pre_norm:
            raise UserError(
                f"model.layernorm_scale: scales what branches read, and those of a {stage.shape.family} read no "
                "normalisation of their own (it is post-LN); remove it, or use residual_scale"
            )


def check_growth(old: Stage, new: Stage) -> None:
    """Refuse a stage that cannot be made from the one before it.

    Raises:
        UserError: the shapes differ in something that cannot grow, or by factors that the width rule does not allow;
            feed-forward matrices would be cut into factors; or the new layers would be made from layers that do not
            exist, destroy a post-LN model's function, or never learn.
    """
    obstacle = why_not_grown(old.shape, new.shape)
    if obstacle:
        raise UserError(f"method: {obstacle}")
    if new.feed_forward_rank not in (None, old.feed_forward_rank):
        before = "whole matrices" if old.feed_forward_rank is None else f"factors of rank {old.feed_forward_rank}"
        raise UserError(
            f"method: {before} cannot become factors of rank {new.feed_forward_rank}; let the run begin with a stage "
            "of that feed_forward_rank, without a source"
        )
    rule = new.growth
    sizes = [(getattr(old.shape, key), getattr(new.shape, key)) for key in ("hidden_size", "intermediate_size")]
    factors = {after / before for before, after in sizes if before != after}
    if rule.width == "block_diagonal" and len(factors) > 1:
        raise UserError("method: block-diagonal growth needs hidden_size and intermediate_size to grow by one factor")
    family, deepens = family_of(new.shape), new.unique_layers > old.unique_layers
    if deepens:
        new.grown_from(old)  # raises where it cannot
    if deepens and not old.unique_layers and rule.new_layers not in FRESH:
        raise UserError(
            f"method.new_layers: {rule.new_layers} is made from an old layer, and the model grows from zero layers; "
            f"use {' or '.join(FRESH)}"
        )
    if deepens and rule.new_layers == "identity" and not family.is_pre_norm:
        raise UserError(
            "method.new_layers: an identity's normalisations are zero, which would silence the whole of a "
            f"{new.shape.family}, since that normalises what its layers put out; use copy, zero or silent"
        )
    if deepens and rule.new_layers == "identity" and family.is_gated:
        raise UserError(
            f"method.new_layers: an identity's feed-forward units and gates are zero, so that those of a "
            f"{new.shape.family} would never learn; use zero, silent or copy"
        )
