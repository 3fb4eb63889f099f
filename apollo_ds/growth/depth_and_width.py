"""Makes the growth from one stage of a schedule to the next."""

from collections.abc import Callable
from functools import partial

from apollo_ds.errors import UserError
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.multiplied_out import MultipliedOut
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.growth.width_map import AxisMap, WidthMap
from apollo_ds.models.axes import Axis
from apollo_ds.models.depth_scale import has_scales
from apollo_ds.models.families import family_of
from apollo_ds.models.family import Family
from apollo_ds.models.pretraining import frozen_names
from apollo_ds.models.shape import ModelShape, why_not_grown
from apollo_ds.schedule.growable import check_growth
from apollo_ds.schedule.scale_change import scale_change
from apollo_ds.schedule.stage import Stage, WidthRule


def growth_between(old: Stage, new: Stage, blocks: str, seed: int) -> Growth:
    """Return the map from the old stage's training state to the new stage's.

    `blocks` is the path of the block list in the model, and `seed` decides every random choice.

    Raises:
        UserError: the new stage's model cannot be made from the old one's; `schedule.growable` has the reasons.
    """
    check_growth(old, new)
    rule = new.growth
    share = _positions_a_layer(new) / _positions_a_layer(old)
    layer_map, heads = new.grown_from(old), new.shape.num_heads
    depth = DepthMap(layer_map, blocks, new.shape.family, rule.new_layers, rule.noise, seed, share, heads)
    width = width_between(old.shape, new.shape, rule.width, seed)
    was_frozen = frozen_names(old.shape, old.frozen) if old.frozen.layers else None
    scales = scale_change(old, new) if has_scales(old.shape) or has_scales(new.shape) else None
    marks_new = rule.rewarm == "new"
    if old.feed_forward_rank is not None and new.feed_forward_rank is None:
        has_no_moments = partial(_has_no_moments, family_of(new.shape), was_frozen)
        return MultipliedOut(depth, width, rule.moments, marks_new, has_no_moments, scales)
    return Growth(depth, width, rule.moments, marks_new, was_frozen, scales)


def _has_no_moments(family: Family, was_frozen: Callable[[str], bool] | None, name: str) -> bool:
    """Whether a parameter has no old moments: it was frozen, or only its two factors had moments."""
    return family.is_feed_forward_matrix(name) or (was_frozen is not None and was_frozen(name))


def _positions_a_layer(stage: Stage) -> float:
    """Return the mean number of positions whose gradients a layer adds up; 1 where it takes their mean.

    12 positions that share 4 layers give 3.
    """
    if stage.tied_gradients == "mean":
        return 1.0
    unlike = family_of(stage.shape).first_layer_is_unlike  # it runs once
    mean_depth = sum(depth * chance for depth, chance in stage.depths())
    return max(1.0, (mean_depth - unlike) / max(1, stage.unique_layers - unlike))


def width_between(old: ModelShape, new: ModelShape, how: WidthRule, seed: int) -> WidthMap | None:
    """Return the maps of the axes in which two shapes differ: hidden size, whole heads and feed-forward width.

    The result is None where the shapes have the same width.

    Raises:
        UserError: the old model cannot grow into the new one.
    """
    obstacle = why_not_grown(old, new)
    if obstacle:
        raise UserError(f"method: {obstacle}")
    axes: dict[Axis, AxisMap] = {}
    if new.hidden_size != old.hidden_size:
        make = AxisMap.averaged if how == "averaged" else partial(_axis, how, seed=seed + 1)
        axes["embedding"] = axes["transform"] = make(old.hidden_size, new.hidden_size)
    if new.num_heads != old.num_heads:
        # Query heads move with the keys and values that they read.
        groups, head = _axis(how, old.key_value_heads, new.key_value_heads, seed), old.head_size
        heads = groups.of_groups(head * old.query_heads_a_group)
        axes["heads"], axes["qkv"], axes["key_value"] = heads, heads.repeated(3), groups.of_groups(head)
        axes["qkv_by_head"] = groups.of_groups(3 * head)
    if new.intermediate_size != old.intermediate_size:
        axes["ffn"] = _axis(how, old.intermediate_size, new.intermediate_size, seed + 2)
        axes["gated"] = axes["ffn"].repeated(2)
    return WidthMap(new.family, axes, advanced=how == "aki", diagonal=how == "block_diagonal") if axes else None


def _axis(how: WidthRule, old_size: int, new_size: int, seed: int) -> AxisMap:
    if how == "net2net":
        return AxisMap.drawn(old_size, new_size, seed)
    return AxisMap.uneven(old_size, new_size, seed) if how == "uneven" else AxisMap.tiled(old_size, new_size)
