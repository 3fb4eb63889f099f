"""Scales that depend on the depth: of a block's outputs, of its inputs, and of its learning rate. No torch here.

`residual_scale` multiplies each branch's output by one number for all positions. It falls with the number of positions
L that run: as 1 / sqrt(2L), or as CompleteP's (L / L_base)^-alpha (Dey et al. 2025, arXiv 2505.01618), with which the
best learning rate is meant to be the same at any depth. `layernorm_scale` multiplies what the branches of position l,
counted from 1, read by 1 / sqrt(l) (Sun et al. 2025, arXiv 2502.05795). It belongs to the position: a layer that runs
at several has another scale at each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from apollo_ds.models.family import Family
from apollo_ds.models.shape import ModelShape

SCALE_KEYS = ("residual_scale", "complete_p_alpha", "base_layers", "layernorm_scale")
"""The keys of a shape that decide its scales, and neither its parameters nor its cost."""


@dataclass(frozen=True)
class PositionScales:
    """What the outputs of one position's linear layers and normalisations are multiplied by."""

    branches: float = 1.0
    """For what its branches add to the residual stream."""
    normalisations: float = 1.0
    """For what its branches read."""


def residual_scale(shape: ModelShape, layers: int) -> float:
    """Return the factor of each branch's output when `layers` layers run.

    With CompleteP, alpha = 1 and two base layers, 12 layers have 1/6. Without layers there is no branch, and it is 1.
    """
    if shape.residual_scale == "depth_sqrt":
        return 1 / sqrt(2 * layers) if layers else 1.0
    return _depth_ratio(shape, layers) ** -shape.complete_p_alpha


def layernorm_scale(shape: ModelShape, position: int) -> float:
    """Return the factor of the normalisations' outputs at a position, counted from 0: 1/2 at the fourth, number 3."""
    return 1 / sqrt(position + 1) if shape.layernorm_scale else 1.0


def block_learning_rate_factor(shape: ModelShape, layers: int) -> float:
    """What CompleteP multiplies the learning rate of the blocks' parameters by: (L / L_base)^(alpha - 1).

    It is 1 for alpha = 1, and without CompleteP. Embeddings and head keep theirs.
    """
    return _depth_ratio(shape, layers) ** (shape.complete_p_alpha - 1)


def block_epsilon_factor(shape: ModelShape, layers: int) -> float:
    """What CompleteP multiplies Adam's epsilon of the blocks' parameters by: (L / L_base)^-alpha, as their gradients.

    It is 1 without CompleteP. Embeddings and head keep theirs.
    """
    return _depth_ratio(shape, layers) ** -shape.complete_p_alpha


def _depth_ratio(shape: ModelShape, layers: int) -> float:
    return layers / shape.base_layers if shape.residual_scale == "complete_p" and layers else 1.0


def scales_at(
    shape: ModelShape, depth: int, positions: Sequence[int], risen: Sequence[float] = ()
) -> tuple[PositionScales, ...]:
    """The scales of these positions, counted from 0, of a network of this depth.

    `risen` says how far the branches of each have risen, from 0 to 1; empty for 1.
    """
    branches = residual_scale(shape, depth)
    parts = risen or (1.0,) * len(positions)
    return tuple(
        PositionScales(branches * part, layernorm_scale(shape, position))
        for position, part in zip(positions, parts, strict=True)
    )


def with_scales_of(shape: ModelShape, other: ModelShape) -> ModelShape:
    """The same sizes with the scales of another shape."""
    return shape.model_copy(update={key: getattr(other, key) for key in SCALE_KEYS})


def scales_in_words(shape: ModelShape) -> list[str]:
    """The formula of each scale that is not 1: `branches x 1/sqrt(2L)`."""
    branches = {"depth_sqrt": "1/sqrt(2L)", "complete_p": f"(L/{shape.base_layers})^-{shape.complete_p_alpha:g}"}
    found = [f"branches x {branches[shape.residual_scale]}"] if shape.residual_scale != "none" else []
    return [*found, "what they read x 1/sqrt(l)"] if shape.layernorm_scale else found


def has_scales(shape: ModelShape) -> bool:
    """Whether some scale of a model is not 1 at some depth or position."""
    return shape.residual_scale != "none" or shape.layernorm_scale


def scale_of(family: Family, name: str, scales: PositionScales) -> float:
    """What the output of a block's parameter is multiplied by at a position, by the parameter's name.

    As the output is linear in the parameter, this is also what folds the scale into it.
    """
    if family.is_residual_output(name):
        return scales.branches
    return scales.normalisations if family.is_branch_normalisation(name) else 1.0


def scaled_modules(family: Family, names: Iterable[str]) -> tuple[set[str], set[str]]:
    """Of parameters of the blocks: the modules that write branches, and the normalisations that branches read."""
    writing, reading = set(), set()
    for name in names:
        module = name.rpartition(".")[0]
        if family.is_residual_output(name):
            writing.add(module)
        elif family.is_branch_normalisation(name):
            reading.add(module)
    return writing, reading
