"""What a task is to the training loop: features to train on, features to predict, and how predictions are scored."""

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
    """Features to predict, without labels."""

    features: list[Feature]
    score: "Callable[[Sequence[Tensor]], Scores]"
    """Metrics from a row of outputs for each feature, in the order of the features."""


@dataclass(frozen=True)
class Problem:
    """A task in the tokens of one model."""

    auto_class: str
    """The class of `transformers` that gives a pretrained model the head that the task needs."""
    outputs: "Callable[[Any], Tensor]"
    """The outputs that are scored (batch, ...), out of all that the model returns."""
    train: list[Feature]
    held_out: list[HeldOut]
    config: dict[str, Any] = field(default_factory=dict)
    """What the head adds to the model's configuration."""


class Source(Protocol):
    """A task's files, read and checked."""

    @property
    def files(self) -> Sequence[Path]:
        """Those that were read."""

    @property
    def metrics(self) -> Sequence[str]:
        """Names of the metrics; the first is the one to report."""

    @property
    def sizes(self) -> dict[str, int]:
        """The number of training and of held-out examples."""

    @property
    def baseline(self) -> Scores:
        """Metrics of always giving the most frequent label of the training examples; none without labels."""

    def problem(self, pretrained: "Pretrained", max_length: int) -> Problem:
        """The task in the tokens of a model, with at most so many in a feature."""
