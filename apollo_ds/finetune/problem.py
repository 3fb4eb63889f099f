"""A task as the training loop sees it: features to train on, features to predict, and a score for predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from apollo_ds.finetune.features import Feature

if TYPE_CHECKING:
    from torch import Tensor

    from apollo_ds.finetune.pretrained import Pretrained

Scores = dict[str, float]


@dataclass(frozen=True)
class HeldOut:
    """Held-out features, without labels, and how their predictions are scored."""

    features: list[Feature]
    score: "Callable[[Sequence[Tensor]], Scores]"
    """Returns metrics. It is given a row of outputs for each feature, in the order of the features."""


@dataclass(frozen=True)
class Problem:
    """A task that is encoded for one model."""

    auto_class: str
    """The class of `transformers` that has the head for the task."""
    outputs: "Callable[[Any], Tensor]"
    """Takes from the model's outputs those that are scored, shape (batch, ...)."""
    train: list[Feature]
    held_out: list[HeldOut]
    config: dict[str, Any] = field(default_factory=dict)
    """What the head adds to the model's configuration."""


class Source(Protocol):
    """A task's files, read and checked."""

    @property
    def files(self) -> Sequence[Path]:
        """The paths of the files that were read."""

    @property
    def metrics(self) -> Sequence[str]:
        """The names of the metrics. The first is the one to report."""

    @property
    def sizes(self) -> dict[str, int]:
        """The numbers of training examples and of held-out examples."""

    @property
    def baseline(self) -> Scores:
        """The metrics of always giving the most frequent training label. Empty if there are no labels."""

    def problem(self, pretrained: "Pretrained", max_length: int) -> Problem:
        """Encode the task for a model, with at most `max_length` tokens in a feature."""
