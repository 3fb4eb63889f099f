"""Plan the return to an earlier checkpoint after training has gone wrong, and the data to skip."""

from dataclasses import dataclass
from pathlib import Path

from apollo_ds.checkpoint.progress import LossMemory
from apollo_ds.errors import UserError
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.training.faults.loss_spikes import Diverged


@dataclass(frozen=True)
class Rollback:
    """A return to a good checkpoint. After it, the run reads other data than before."""

    to: int
    """The step to go back to; 0 for the beginning."""
    went_wrong_at: int
    reason: str
    tokens: int
    """The number of tokens of the data stream that the run skips."""

    def apply(self, memory: LossMemory) -> None:
        """Record the rollback in the memory of the restored state."""
        memory.skipped_tokens += self.tokens
        memory.went_wrong_at = self.went_wrong_at

    def __str__(self) -> str:
        return (
            f"training went wrong at step {self.went_wrong_at:,}: {self.reason}; "
            f"going back to step {self.to:,} and skipping {self.tokens:,} tokens of data"
        )


def plan_rollback(
    trouble: Diverged, memory: LossMemory, folder: Path, to: int, schedule: Schedule, unit: int
) -> Rollback:
    """Plan to go back to step `to`, and to skip the data that was read from there up to the trouble.

    Args:
        trouble: what went wrong.
        memory: the memory of the detection of loss spikes.
        folder: the run's checkpoints, for the message.
        to: the step of the newest sound checkpoint before the trouble; 0 for the beginning.
        schedule: the run's schedule.
        unit: the number of skipped tokens is a multiple of this.
    Raises:
        UserError: no checkpoint was made since the run last went wrong, so skipping data has not helped.
    """
    if to <= memory.went_wrong_at:
        raise UserError(
            f"{folder}: training went wrong at step {trouble.last}: {trouble}; it had gone wrong at step "
            f"{memory.went_wrong_at} before, and going back to step {to} and skipping {memory.skipped_tokens:,} tokens "
            "of data has not helped; lower learning_rate, or check the data and the machine"
        )
    tokens = schedule.at(trouble.last).first_token - schedule.at(to).first_token
    return Rollback(to, trouble.last, str(trouble), -(-tokens // unit) * unit)
