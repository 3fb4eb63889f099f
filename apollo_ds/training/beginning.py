"""The point at which a run starts: its own checkpoint, a step of another run, or its beginning."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

from apollo_ds.checkpoint.choose import Choice, branch_checkpoint, source_state
from apollo_ds.checkpoint.manifest import Manifest
from apollo_ds.checkpoint.progress import LossMemory
from apollo_ds.config.ready import changes_optimizer, key_of_source, oddities_of_source
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.text import Text
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import is_as_recorded
from apollo_ds.growth.state import StoredState
from apollo_ds.schedule.agreement import resumed
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import BranchPoint, SourceModel
from apollo_ds.schedule.totals import Totals
from apollo_ds.schedule.triggers import Evidence
from apollo_ds.training.console import RunConsole


@dataclass(frozen=True)
class Beginning:
    """What has been trained and recorded before the next step."""

    schedule: Schedule
    """The schedule, in which stages that ended early have their true lengths."""
    stage: int = 0
    evidence: Evidence = field(default_factory=Evidence)
    totals: Totals = field(default_factory=Totals)
    memory: LossMemory = field(default_factory=LossMemory)
    metrics_bytes: int = 0
    """The number of bytes of metrics.jsonl that are kept."""


def where_to_begin(
    choice: Choice | None, recipe: Recipe, text: Text, processes: Processes, warn: Callable[[str], None]
) -> Beginning:
    """Find the point at which a run starts. All ranks call it together.

    It is the run's chosen checkpoint if there is one, else the point that it branches from, else step 0.

    Raises:
        UserError: the checkpoint that the run branches from is damaged or gone. Every rank raises it.
    """
    planned = recipe.schedule()
    if choice:
        manifest = choice.manifest
        course = manifest.course
        schedule = resumed(planned, manifest.totals.step, course.stage_steps)
        return Beginning(
            schedule, course.stage, course.evidence, manifest.totals, manifest.memory, manifest.metrics_bytes
        )
    if not isinstance(planned.source, BranchPoint):
        return Beginning(planned)
    point = planned.source
    manifest = branch_checkpoint(point, processes).manifest
    kept, doubt = processes.on_first(lambda: _take_over_metrics(point, manifest, RunFolder(recipe.out)))
    if doubt:
        warn(doubt)
    before, after = planned.stages[:2]
    goes_on = after.continues(before) and before.ends == after.ends  # if not, the stage begins here
    memory = deepcopy(manifest.memory)
    memory.stage = int(goes_on)
    memory.skipped_tokens = _next_token(point, recipe, text) - planned.at(point.step).first_token
    evidence = manifest.course.evidence if goes_on else Evidence()
    return Beginning(planned, int(goes_on), evidence, manifest.totals, memory, kept)


def state_to_start_from(recipe: Recipe, text: Text, processes: Processes, console: RunConsole) -> StoredState | None:
    """Open the state of the run or model that this run starts from; None for fresh weights. All ranks call it together.

    It prints what the run starts from, and any warnings about it.

    Raises:
        UserError: the source is damaged or gone, or does not fit the recipe or the text. Every rank raises it.
    """
    source = recipe.schedule().source
    if source is None:
        return None
    odd = processes.on_first(lambda: oddities_of_source(recipe, text))
    anew = isinstance(source, SourceModel) or recipe.init_from is not None or changes_optimizer(recipe, source)
    state = source_state(source, key_of_source(recipe), not anew, processes)
    if isinstance(source, BranchPoint):
        console.say(f"continue from {source}")
    else:
        console.say(f"start from {source}{'; with a fresh optimizer' if anew else ''}")
    for sentence in odd:
        console.warn(sentence)
    return state


def _next_token(point: BranchPoint, recipe: Recipe, text: Text) -> int:
    """The token of the data stream at which a branch starts: the other run's position, or 0 if the text is another."""
    if point.train not in (None, text.train_hash) or point.seed != recipe.seed:
        return 0
    return -(-point.position // recipe.seq_len) * recipe.seq_len  # rounded up to whole samples of the branch's length


def _take_over_metrics(point: BranchPoint, manifest: Manifest, folder: RunFolder) -> tuple[int, str]:
    """Copy the other run's metrics up to the branch's step. Returns their length in bytes, and a warning or ""."""
    theirs = point.folder / "metrics.jsonl"
    try:
        if not is_as_recorded(theirs, manifest.metrics_bytes, manifest.metrics_hash):
            raise OSError
        with theirs.open("rb") as file:
            kept = file.read(manifest.metrics_bytes)
    except OSError:
        return 0, f"{theirs}: is gone or changed; the branch's record begins at step {point.step:,}"
    try:
        folder.metrics.write_bytes(kept)
    except OSError as error:
        raise UserError(
            f"{folder.metrics}: cannot be written: {error.strerror}; free space, then start again"
        ) from None
    return len(kept), ""
