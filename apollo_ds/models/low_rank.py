"""A linear layer whose matrix is held as two factors, which takes fewer numbers and operations.

CompoundGrow (Gu et al. 2021, arXiv 2010.12562) holds the feed-forward matrices of its first stages so.
"""

from collections.abc import Iterator
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from apollo_ds.models.factor_names import factors_of
from apollo_ds.rng import Stream, random_bits


class LowRank(nn.Module):
    """Replaces a linear layer. Its matrix (rows, columns) is left (rows, rank) times right (rank, columns).

    `is_transposed` says that the matrix is (in, out), as in GPT-2, and not (out, in).
    """

    bias: nn.Parameter | None

    def __init__(self, left: nn.Parameter, right: nn.Parameter, bias: nn.Parameter | None, is_transposed: bool) -> None:
        super().__init__()
        self.left = left
        self.right = right
        self.register_parameter("bias", bias)
        self.is_transposed = is_transposed

    def forward(self, hidden: Tensor) -> Tensor:
        """From (..., in) to (..., out), by one factor after the other."""
        first, second = (self.left.T, self.right.T) if self.is_transposed else (self.right, self.left)
        return linear(linear(hidden, first), second, self.bias)


def fresh_factors(name: str, matrix: Tensor, rank: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names and values (fp32) of the factors of a fresh matrix; their product has its standard deviation.

    An element of the product is a sum of `rank` products of normal numbers; each has the standard deviation
    (s^2 / rank)^(1/4), where s is the matrix's own.
    """
    spread = float(matrix.std() ** 2 / rank) ** 0.25
    bits = random_bits(seed, Stream.FACTORS, crc32(name.encode()))
    generator = torch.Generator().manual_seed(int(bits) >> 1)
    rows, columns = matrix.shape
    for own, size in zip(factors_of(name), ((rows, rank), (rank, columns)), strict=True):
        yield own, spread * torch.randn(size, generator=generator)
