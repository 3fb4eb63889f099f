"""A small model, an operator learned on top of it, and the large model that it makes: LiGO and Mango."""

from typing import Literal, cast

from pydantic import Field

from apollo_ds.methods.base import Method, Run, divided, divisors_near, split_steps
from apollo_ds.stage import Learning, Stage


class LearnedGrowth(Method):
    """A model of half the width and half the layers trains first; then the operator; then the large model.

    The optimizer and the learning rate begin anew at each, as published. All of it is the run's cost.
    """

    source_fraction: float = Field(default=0.25, gt=0, lt=1)
    """The part of the run's steps that trains the source."""
    source_width: float = Field(default=0.5, gt=0, le=1)
    """Its hidden size, as a part of the model's: 1, 1/2, 1/3, ..."""
    source_depth: float = Field(default=0.5, gt=0, le=1)
    """Its layers, as a part of the model's; the nearest divisor is taken."""
    learning_steps: int = Field(default=100, ge=1)
    """Steps that learn the operator, but at most a twentieth of the run."""

    def stages(self, run: Run) -> list[Stage]:
        """The source, the operator, the model."""
        target = run.shape.num_layers
        small = divided(run.shape, hidden=round(1 / self.source_width))
        layers = divisors_near(target, [self.source_depth])[0]
        source_steps, rest = split_steps(run.steps, [self.source_fraction])
        learning_steps = max(1, min(self.learning_steps, run.steps // 20))
        learning = Learning(cast(Literal["ligo", "mango"], self.name), small, layers)
        return [
            self.stage(run, source_steps, layers, shape=small),
            self.stage(run, learning_steps, target, learning=learning, restarts_learning_rate=True),
            self.stage(run, rest - learning_steps, target, restarts_learning_rate=True),
        ]
