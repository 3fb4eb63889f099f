"""Names the parts of a model that do not train."""

from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Frozen:
    """The frozen parts of a model, by default none. They run as usual, and gradients pass through them."""

    layers: tuple[int, ...] = ()
    """Unique layers that do not train. If there are any, the embeddings and a tied head matrix do not train either."""
    head: bool = False
    """Whether all parameters above the layers are frozen, too."""

    @property
    def below(self) -> int:
        """The number of layers below the lowest one that trains. If it is not 0, neither they nor the embeddings get
        gradients."""
        return next(layer for layer in count() if layer not in self.layers)


NOTHING_FROZEN = Frozen()
