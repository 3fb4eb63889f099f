"""Names of the two factors of a matrix (`models.low_rank`). No torch here."""

WHOLE, LEFT, RIGHT = "weight", "left", "right"
"""The last part of the name of a matrix, and of its two factors."""


def factors_of(name: str) -> tuple[str, str]:
    """The names of a matrix's factors."""
    layer = name.removesuffix(WHOLE)
    return layer + LEFT, layer + RIGHT


def whole_name(name: str) -> str:
    """The name of the matrix that a factor belongs to; any other name as it is."""
    layer, _, own = name.rpartition(".")
    return f"{layer}.{WHOLE}" if own in (LEFT, RIGHT) else name
