"""The part of the training state that is not tensors, and the names of those that are. Nothing here imports torch."""

from dataclasses import dataclass, field

WEIGHT, MOMENTS, COHORT = "weight", ("exp_avg", "exp_avg_sq"), "cohort"
"""Names of the tensors of a state. For a matrix that Muon trains, `exp_avg` is Muon's momentum (a mean of gradients,
too), and there is no `exp_avg_sq`.
"""


@dataclass(frozen=True)
class Counters:
    """The part of the training state that is not tensors."""

    adam_step: int = 0
    """Adam's step counter, which its bias correction uses."""
    births: tuple[int, ...] = (0,)
    """Adam's step counter when each cohort of coordinates began. The age of a cohort is `adam_step - birth`.

    Where there are several cohorts, the tensor `COHORT` says to which one each coordinate belongs."""
    loss_scaler: dict[str, float] = field(default_factory=dict)
    optimizer: str | None = "adamw"
    """The optimizer that made the moments; None where nothing has trained. Earlier versions had AdamW only."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the state holds of each parameter."""
        return (WEIGHT, *MOMENTS, COHORT) if len(self.births) > 1 else (WEIGHT, *MOMENTS)
