"""Chooses how many layers stages have: divisors of the full number, without a first layer that is unlike the others."""

from collections.abc import Sequence

from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from data_prep.counted import counted


def fewest_layers(shape: ModelShape) -> int:
    """Return the fewest layers that can grow: 1, or 2 in a family whose first layer is unlike the others."""
    return 2 if family_of(shape).first_layer_is_unlike else 1


def layers_alike(shape: ModelShape) -> int:
    """Return how many layers of the full model can be copies of each other: all, or all but an unlike first layer.

    Raises:
        UserError: the model has no layer besides an unlike first one.
    """
    if shape.num_layers < fewest_layers(shape):
        raise UserError(
            f"model.num_layers: the first layer of a {shape.family} is never copied, so a model that grows has at "
            f"least {fewest_layers(shape)}, not {shape.num_layers}"
        )
    return shape.num_layers - (fewest_layers(shape) - 1)


def counts_near(shape: ModelShape, fractions: Sequence[float]) -> list[int]:
    """Return layer counts near these fractions of a model's layers. They increase and end with all layers.

    They divide the number of layers. In a family whose first layer is unlike the others, they are that layer plus
    divisors of the number of others.

    Raises:
        UserError: the model has no layer besides an unlike first one.
    """
    first = shape.num_layers - layers_alike(shape)
    wanted = [(fraction * shape.num_layers - first) / layers_alike(shape) for fraction in fractions]
    return [first + count for count in divisors_near(layers_alike(shape), wanted)]


def divisors_near(target: int, fractions: Sequence[float]) -> list[int]:
    """Return the divisors of `target` that are nearest to these fractions of it. They increase and end with `target`.

    Growth is exact between counts that divide each other, so a divisor is better than the nearest count. For 12 layers
    and the fractions 0.3 and 0.5 the result is 4, 6 and 12.
    """
    counts = {target}
    for fraction in fractions:
        divisors = [d for d in range(1, target + 1) if target % d == 0]
        counts.add(min(divisors, key=lambda d: (abs(d - fraction * target), d)))
    return sorted(counts)


def named_layers(shape: ModelShape) -> str:
    """Name in words, for messages, the layers that can be copies of each other."""
    alike = layers_alike(shape)
    return f"the model's {counted(alike, 'layer')}{'' if alike == shape.num_layers else ', without the first,'}"


def check_divides(option: str, parts: int, shape: ModelShape) -> None:
    """Check that a model's layers can be cut into `parts` equal parts, as `option` asks.

    Raises:
        UserError: they cannot; the message lists the numbers that fit.
    """
    layers = layers_alike(shape)
    if layers % parts:
        fitting = ", ".join(str(d) for d in range(2, layers + 1) if layers % d == 0)
        raise UserError(f"method.{option}: {parts} does not divide {named_layers(shape)}; use one of {fitting}")
