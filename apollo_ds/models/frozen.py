"""Which parts of a model do not train."""

from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Frozen:
    """What does not train; nothing by default. It runs as ever, and gradients pass through it to what trains below."""

    layers: tuple[int, ...] = ()
    """Unique layers. If there are any, the embeddings do not train either, nor a head's matrix that is tied to them."""
    head: bool = False
    """Whether all that is above the layers is frozen too."""

    @property
    def below(self) -> int:
        """How many layers are below the lowest that trains. No gradients go there, nor to the embeddings if any are."""
        return next(layer for layer in count() if layer not in self.layers)


NOTHING_FROZEN = Frozen()
