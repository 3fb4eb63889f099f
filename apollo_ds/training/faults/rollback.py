"""Going back after training has gone wrong: to which checkpoint, and past which data."""

from dataclasses import dataclass
from pathlib import Path

from apollo_ds.checkpoint.progress import LossMemory
from apollo_ds.errors import UserError
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.training.faults.loss_spikes import Diverged


@dataclass(frozen=True)
class Rollback:
    """A return to a good checkpoint, after which the run reads other data than before."""

    to: int
    """The step to go back to; 0 for the beginning."""
    went_wrong_at: int
    reason: str
    tokens: int
    """How much further on in the data stream the run reads from now on."""

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
    """Back to step `to`, that of the newest sound checkpoint before the trouble, and past the data up to the trouble.

    Args:
        trouble: what went wrong.
        memory: what the watch over the loss remembers.
        folder: the run's checkpoints, for the message.
        to: 0 for the beginning.
        schedule: the run's.
        unit: tokens are passed over in multiples of it.
    Raises:
        UserError: no checkpoint was made since the run last went wrong, so passing over data has not helped.
    """
    if to <= memory.went_wrong_at:
        raise UserError(
            f"{folder}: training went wrong at step {trouble.last}: {trouble}; it had gone wrong at step "
            f"{memory.went_wrong_at} before, and going back to step {to} and skipping {memory.skipped_tokens:,} tokens "
            "of data has not helped; lower learning_rate, or check the data and the machine"
        )
    tokens = schedule.at(trouble.last).first_token - schedule.at(to).first_token
    return Rollback(to, trouble.last, str(trouble), -(-tokens // unit) * unit)
