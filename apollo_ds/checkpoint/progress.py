"""The place of a training state in its run: all that a checkpoint holds besides tensors."""

from dataclasses import dataclass, field

from apollo_ds.schedule.totals import Totals
from apollo_ds.schedule.triggers import Evidence


@dataclass
class Course:
    """How far a run has come in its schedule, and the measurements that decide when its stage ends."""

    stage: int
    stage_steps: list[int]
    """The number of steps of each stage, past or planned."""
    evidence: Evidence = field(default_factory=Evidence)
    """Measurements of the current stage, for a trigger that may end it early."""


@dataclass
class LossMemory:
    """What the detection of loss spikes remembers from step to step."""

    losses: list[float] = field(default_factory=list)
    """The latest losses of this stage that were not too high, at most 128."""
    stage: int = 0
    suspects: int = 0
    """How many of the latest losses in a row were too high."""
    bad_steps: int = 0
    """How many of the latest steps in a row had a loss or gradient that was not finite."""
    skipped_steps: int = 0
    """Steps of the run that changed nothing because their gradient was not finite."""
    skipped_tokens: int = 0
    """Tokens by which the data stream is ahead of the schedule, because rollbacks have skipped them. In a branch that
    reads another text from its beginning it may be below 0."""
    went_wrong_at: int = -1
    """The step at which training last went wrong; -1 if it never did."""


@dataclass(frozen=True)
class Progress:
    """The place of a training state in its run."""

    totals: Totals
    course: Course
    metrics_bytes: int
    """Length of the metrics file at this step, to which a resumed run cuts it back."""
    metrics_hash: str
    """The 128-bit XXH3 hash of the first `metrics_bytes` bytes of the metrics file."""
    memory: LossMemory
    """The memory of the detection of loss spikes."""
