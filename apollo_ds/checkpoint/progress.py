"""Where in a run a state belongs: what a checkpoint holds beside tensors."""

from dataclasses import dataclass, field

from apollo_ds.schedule.totals import Totals
from apollo_ds.schedule.triggers import Evidence


@dataclass
class Course:
    """How far a run has come in its schedule, and what has shaped the rest of it."""

    stage: int
    stage_steps: list[int]
    """Steps of each stage, as they were or will be."""
    evidence: Evidence = field(default_factory=Evidence)
    """What the stage has measured for what may end it."""


@dataclass
class LossMemory:
    """What the detection of loss spikes remembers from step to step."""

    losses: list[float] = field(default_factory=list)
    """The latest losses of this stage that were not too high, at most 128."""
    stage: int = 0
    suspects: int = 0
    """Losses in a row that are too high."""
    bad_steps: int = 0
    """Steps in a row without a finite loss or gradient."""
    skipped_steps: int = 0
    """Steps of the run that changed nothing, since their gradient was not finite."""
    skipped_tokens: int = 0
    """How far the data stream is ahead of the schedule, in tokens: what rollbacks have skipped. It may be below 0 in a
    branch, which reads another text from its beginning."""
    went_wrong_at: int = -1
    """The step at which training last went wrong; -1 if it never did."""


@dataclass(frozen=True)
class Progress:
    """Where in a run a state belongs."""

    totals: Totals
    course: Course
    metrics_bytes: int
    """Length of the metrics file at this step, to which a resumed run cuts it back."""
    metrics_hash: str
    """The 128-bit XXH3 hash of so much of it."""
    memory: LossMemory
    """What the watch over the loss remembers."""
