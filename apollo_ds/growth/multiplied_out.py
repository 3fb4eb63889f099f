"""Multiplies low-rank factors out: each feed-forward matrix of the new model is the product of two old factors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from apollo_ds.growth.counters import WEIGHT, Counters
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models.factor_names import factors_of, whole_name
from apollo_ds.models.families import FAMILIES


@dataclass(frozen=True)
class MultipliedOut(Growth):
    """A growth out of a stage with factors. It multiplies them, which keeps the function, and then grows as usual.

    The moments of a product do not follow from those of its factors. So the moments of these matrices start from zero,
    at age 0, under every rule. The caller's `was_frozen` must be true for them, which has this effect.
    """

    def sources(self, name: str, exists: set[str]) -> tuple[str, ...]:
        """Name the old parameters that a new one is made from; for a feed-forward matrix, its two factors."""
        matrices = super().sources(name, set(map(whole_name, exists)))
        return tuple(part for matrix in matrices for part in self._parts(matrix))

    def apply(self, name: str, tensor: str, old: dict[str, Tensor], counters: Counters) -> Tensor | None:
        """Multiply the factors out, then grow the matrix as usual."""
        whole = {whole_name(part): value for part, value in old.items()}
        for matrix in whole:
            if FAMILIES[self.depth.family].is_feed_forward_matrix(matrix):
                whole[matrix] = _product(tensor, *(old[part] for part in factors_of(matrix)))
        return super().apply(name, tensor, whole, counters)

    def _parts(self, matrix: str) -> tuple[str, ...]:
        return factors_of(matrix) if FAMILIES[self.depth.family].is_feed_forward_matrix(matrix) else (matrix,)


def _product(tensor: str, left: Tensor, right: Tensor) -> Tensor:
    """Return the product for a weight, and zeros of its shape for all other tensors."""
    if tensor == WEIGHT:
        return left @ right
    return torch.zeros(len(left), right.shape[1], dtype=left.dtype, device=left.device)
