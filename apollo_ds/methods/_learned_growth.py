"""The base class of LiGO and Mango: a small model trains, then an operator is learned that makes the large model."""

from collections.abc import Collection
from typing import ClassVar

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Run, split_steps
from apollo_ds.methods._from_source import FromSource
from apollo_ds.methods._layer_counts import check_divides, counts_near
from apollo_ds.schedule.stage import LearnedGrowth, Stage


class LearnedGrowthMethod(FromSource):
    """Trains a model of half the width and half the layers, then the operator, then the large model.

    If a source is given, the small model is not trained, and the source's sizes replace those by the divisors. The
    optimizer and the learning rate begin anew in each part. All three parts count as the run's cost.
    """

    source_hidden_divisor: int = Field(default=2, ge=1)
    """How many times wider than the small model the large one is. Heads and feed-forward width follow."""
    source_layers_divisor: int = Field(default=2, ge=1)
    """How many times more layers the large model has. If this does not divide them, the nearest number that does is
    taken."""
    learning_steps: int = Field(default=100, ge=1)
    """How many steps learn the operator, but at most a twentieth of the run."""

    fitted: ClassVar[Collection[str]] = ("learning_steps", "source_layers_divisor")

    def check_fits(self, run: Run) -> None:
        """Refuse learning that takes more than a twentieth of the run, and a divisor that does not fit."""
        longest = max(1, run.steps // 20)
        if self.sets("learning_steps") and self.learning_steps > longest:
            raise UserError(
                f"method.learning_steps: {self.learning_steps} are more than a twentieth of {run.steps} steps; use at "
                f"most {longest}"
            )
        if self.sets("source_layers_divisor"):
            check_divides("source_layers_divisor", self.source_layers_divisor, run.shape)

    def stages(self, run: Run) -> list[Stage]:
        """Return three stages: the small model, the learning of the operator, and the large model."""
        target = run.shape.num_layers
        layers = counts_near(run.shape, [1 / self.source_layers_divisor])[0]
        source_steps, rest = split_steps(run.steps, [self.source_fraction])
        learning_steps = max(1, min(self.learning_steps, run.steps // 20))
        source = self.source_stage(run, source_steps, layers, self.source_hidden_divisor)
        learned = LearnedGrowth(self.name, source.shape, source.unique_layers)
        return [
            source,
            self.stage(run, learning_steps, target, learned_growth=learned, restarts_learning_rate=True),
            self.stage(run, rest - learning_steps, target, restarts_learning_rate=True),
        ]
