"""The orthogonalisation of Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

DeepSpeed and torch have it too, but always in bf16 where the hardware has it. Here the recipe sets the precision, so
that a run in fp32 computes in fp32 on every machine and on any number of ranks.
"""

from collections.abc import Iterator, Sequence
from math import sqrt

import torch
from torch import Tensor

from apollo_ds.engine.optimizers import UpdateScale

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""The coefficients of the quintic iteration. They raise small singular values fastest, and bring most of them to
between 0.7 and 1.2."""
_LEAST_NORM = 0.5
"""A bound that separates a matrix whose largest element is 1 (norm at least 1) from one of zeros (norm 0)."""
AT_ONCE = 1 << 24
"""The most elements that are orthogonalised at a time, so that temporary tensors stay small."""


def orthogonalised(matrices: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Approximate U V^T of each matrix, where U S V^T is its singular value decomposition.

    `matrices` has the shape (count, rows, columns). The result has the same shape, and `dtype`, which is also the
    precision of the computation. A matrix of zeros stays zero.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide = (matrices.mT if is_tall else matrices).float()
    # Divide by the largest element first. Squares of tiny elements would be zero in fp32, and so would the norm.
    near_one = wide / wide.abs().amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(wide.dtype).tiny)
    norms = torch.linalg.vector_norm(near_one, dim=(1, 2), keepdim=True, dtype=torch.float32)
    x = (near_one / norms.clamp(min=_LEAST_NORM)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if is_tall else x


def update_size(rows: int, columns: int, scale: UpdateScale) -> float:
    """The factor on an orthogonal update of a matrix with so many outputs (rows) and inputs (columns).

    `match_adamw` gives the update's elements the root mean square of AdamW's, about 0.2 (Liu et al. 2025, eq. 4).
    """
    return 0.2 * sqrt(max(rows, columns)) if scale == "match_adamw" else sqrt(max(1.0, rows / columns))


def all_orthogonalised(matrices: Sequence[Tensor], steps: int, dtype: torch.dtype) -> list[Tensor]:
    """Orthogonalise each matrix (rows, columns). Those of one shape, transposed or not, are computed together."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, matrix in enumerate(matrices):
        by_shape.setdefault(tuple(sorted(matrix.shape)), []).append(number)
    found: dict[int, Tensor] = {}
    for numbers in by_shape.values():
        is_tall = [matrices[number].shape[0] > matrices[number].shape[1] for number in numbers]
        wide = [matrices[n].mT if tall else matrices[n] for n, tall in zip(numbers, is_tall, strict=True)]
        results = orthogonalised(torch.stack(wide), steps, dtype)
        found |= {n: x.mT if tall else x for n, tall, x in zip(numbers, is_tall, results, strict=True)}
    return [found[number] for number in range(len(matrices))]


def chunked(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Split sizes into slices of neighbours that sum to at most `most`. A size above `most` gets a slice of its own."""
    first = total = 0
    for number, size in enumerate(sizes):
        if total and total + size > most:
            yield slice(first, number)
            first, total = number, 0
        total += size
    if sizes:
        yield slice(first, len(sizes))
