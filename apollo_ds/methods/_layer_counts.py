"""How many layers stages may have: counts that divide each other, beside a first layer that is unlike the others."""

from collections.abc import Sequence

from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from data_prep.counted import counted


def fewest_layers(shape: ModelShape) -> int:
    """Layers that others can be copied from: one, or two where the first is unlike the others and stands for itself."""
    return 2 if family_of(shape).first_layer_is_unlike else 1


def layers_alike(shape: ModelShape) -> int:
    """Layers of the full model that can be copies of each other.

    Raises:
        UserError: there is none besides a first one that is unlike the others.
    """
    if shape.num_layers < fewest_layers(shape):
        raise UserError(
            f"model.num_layers: the first layer of a {shape.family} is never copied, so a model that grows has at "
            f"least {fewest_layers(shape)}, not {shape.num_layers}"
        )
    return shape.num_layers - (fewest_layers(shape) - 1)


def counts_near(shape: ModelShape, fractions: Sequence[float]) -> list[int]:
    """Layer counts near these fractions of a model's layers, increasing, ending with all of them.

    They are divisors; where the first layer is unlike the others, those of the others', and one more.

    Raises:
        UserError: there is no layer besides such a first one.
    """
    first = shape.num_layers - layers_alike(shape)
    wanted = [(fraction * shape.num_layers - first) / layers_alike(shape) for fraction in fractions]
    return [first + count for count in divisors_near(layers_alike(shape), wanted)]


def divisors_near(target: int, fractions: Sequence[float]) -> list[int]:
    """Layer counts near these fractions of `target`, as divisors of it, increasing, ending with `target` itself.

    Growth between divisors that divide each other is exact, which is why a divisor is preferred to the nearest count.
    """
    counts = {target}
    for fraction in fractions:
        divisors = [d for d in range(1, target + 1) if target % d == 0]
        counts.add(min(divisors, key=lambda d: (abs(d - fraction * target), d)))
    return sorted(counts)


def named_layers(shape: ModelShape) -> str:
    """The layers that can be copies of each other, in words."""
    alike = layers_alike(shape)
    return f"the model's {counted(alike, 'layer')}{'' if alike == shape.num_layers else ', without the first,'}"


def check_divides(option: str, parts: int, shape: ModelShape) -> None:
    """Check that a model's layers can be cut into so many equal parts, as an option says.

    Raises:
        UserError: they cannot.
    """
    layers = layers_alike(shape)
    if layers % parts:
        fitting = ", ".join(str(d) for d in range(2, layers + 1) if layers % d == 0)
        raise UserError(f"method.{option}: {parts} does not divide {named_layers(shape)}; use one of {fitting}")
