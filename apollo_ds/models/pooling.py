"""Embedding pooling: layers run on the means of neighbouring tokens (CompoundGrow, Gu et al. 2021, arXiv 2010.12562).

The layers then see `pool` times fewer tokens. Behind them each token gets back what it had of its own, so that every
position can be scored. Without it all tokens of a group would be predicted alike.
"""

from torch import Tensor


class PooledTokens:
    """The tokens of one forward pass. It makes the pooled tokens for the layers, and keeps the tokens' differences."""

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self._own: Tensor | None = None

    def enter(self, hidden: Tensor) -> Tensor:
        """The mean of each `pool` neighbours: from (batch, tokens, hidden size) to (batch, tokens / pool, hidden size).

        How each token differs from the mean of its group is kept.
        """
        groups = hidden.unflatten(1, (-1, self.pool))
        means = groups.mean(dim=2)
        self._own = groups - means.unsqueeze(2)
        return means

    def leave(self, hidden: Tensor) -> Tensor:
        """Give each token the layers' output for its group, plus its own difference: the inverse of `enter`."""
        assert self._own is not None
        restored, self._own = (self._own + hidden.unsqueeze(2)).flatten(1, 2), None
        return restored

    def of_groups(self, tensor: Tensor) -> Tensor:
        """A tensor (batch, tokens, ...) at the first token of each group."""
        return tensor[:, :: self.pool]
