"""The part of the training state that is not tensors, and the names of those that are. Nothing here imports torch."""

from dataclasses import dataclass, field

WEIGHT, MOMENTS, COHORT = "weight", ("exp_avg", "exp_avg_sq"), "cohort"
"""Muon's momentum is a mean of gradients, as `exp_avg` is; of a matrix that it trains there is no `exp_avg_sq`."""


@dataclass(frozen=True)
class Counters:
    """The part of the training state that is not tensors."""

    adam_step: int = 0
    """Adam's step counter, which its bias correction uses."""
    births: tuple[int, ...] = (0,)
    """The counter at which each cohort of coordinates began, so that their age is `adam_step - birth`.

    Where there are several cohorts, the state holds for each coordinate which one it belongs to."""
    loss_scaler: dict[str, float] = field(default_factory=dict)
    optimizer: str | None = "adamw"
    """Whose moments the state has; None where nothing has trained. Earlier versions knew AdamW alone."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the state holds of each parameter."""
        return (WEIGHT, *MOMENTS, COHORT) if len(self.births) > 1 else (WEIGHT, *MOMENTS)
