"""The training loop: steps, growths, evaluations, checkpoints and rollbacks."""

import time
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict
from math import isnan

from apollo_ds.checkpoint.choose import Choice
from apollo_ds.checkpoint.progress import Course, Progress
from apollo_ds.checkpoint.prune import discard_from
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.checkpoint.writer import CheckpointWriter
from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.batches import BatchSource
from apollo_ds.engine import restore
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import Batch
from apollo_ds.planning.in_words import loss_in_words
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage
from apollo_ds.schedule.totals import Totals
from apollo_ds.schedule.triggers import Evidence
from apollo_ds.training.beginning import Beginning, state_to_start_from, where_to_begin
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults.consensus import Consensus
from apollo_ds.training.faults.loss_spikes import Diverged, LossWatch
from apollo_ds.training.faults.rollback import Rollback, plan_rollback
from apollo_ds.training.faults.stop_signal import StopRequest
from apollo_ds.training.faults.watchdog import Limit, Watchdog
from apollo_ds.training.gradient_agreement import gradient_agreement
from apollo_ds.training.growing import StageEngines
from apollo_ds.training.held_out import HeldOutText
from apollo_ds.training.metrics import Metrics, NoMetrics
from apollo_ds.training.prefetch import Prefetcher
from apollo_ds.training.rank_batches import RankBatches
from apollo_ds.training.recorder import StepRecorder
from apollo_ds.training.resume import find_start, record_resume, record_start
from apollo_ds.training.samples import Sampler
from apollo_ds.training.trackers.trackers import Trackers

_STEPS_WATCHED_AFTER_GROWTH = 20
"""For so many steps after a growth, the size of the update relative to the weights is recorded, to show a shock."""


class Trainer(AbstractContextManager["Trainer"]):
    """One run on one rank, from its first step or its last checkpoint to its end.

    Use it in a `with` statement if the process lives on afterwards; it is then closed even after an error. `run.train`
    explains when closing may wait for a lost rank.
    """

    def __init__(
        self,
        recipe: Recipe,
        processes: Processes,
        source: BatchSource,
        console: RunConsole,
        stop: StopRequest,
        watchdog: Watchdog,
    ) -> None:
        self.recipe = recipe
        self.processes = processes
        self.batches = RankBatches(recipe, processes, source)
        self.console = console
        self.folder = RunFolder(recipe.out)
        self.engines = StageEngines(recipe, processes, console.say)
        self.last_loss = float("nan")
        self.consensus = Consensus(processes, stop)
        self.run_id = processes.on_first(self.folder.run_id)
        self.writer = CheckpointWriter(
            self.folder.checkpoints, self.run_id, processes, recipe.keep_checkpoints, self._stays
        )
        self.watchdog = watchdog
        self.held_out = HeldOutText(self.batches, watchdog)
        self.sampler = Sampler(self.batches, self.engines.parts, watchdog)
        self.watchdog.progress("looking for a checkpoint", Limit.SETUP)
        self._start_or_resume(find_start(self.folder, self.run_id, recipe.schedule().begins_at, processes, console))

    def _stays(self, step: int) -> bool:
        """Whether a step's checkpoint is kept for good: one every `keep_every` steps, and the last before the decay."""
        every = self.recipe.keep_every
        return step == self.schedule.decays_from or (every > 0 and step % every == 0)

    def _start_or_resume(self, choice: Choice | None) -> None:
        at = where_to_begin(choice, self.recipe, self.batches.source.text, self.processes, self.console.warn)
        self.schedule, self.stage, self.evidence = at.schedule, at.stage, at.evidence
        self.loss_watch = LossWatch(
            at.memory,
            most_bad_steps=self.recipe.bad_steps,
            deviations=self.recipe.spike_deviations,
            overflow_is_usual=precision(self.recipe.deepspeed) == "fp16",
        )
        self._make_engine(choice)
        self._open_records(at)  # last, since it starts the run's clock
        self._announce_and_tidy(choice)

    def _open_records(self, at: Beginning) -> None:
        self.metrics: Metrics | NoMetrics = NoMetrics()
        self.processes.on_first(lambda: self._open_metrics(at.metrics_bytes))
        self.recorder = StepRecorder(
            self.recipe, at.totals, self.schedule, self.processes, self.metrics, self.console, self.loss_watch
        )

    def _open_metrics(self, keep_bytes: int) -> None:
        trackers = Trackers(self.folder.path, self.recipe.plain(), self.recipe.trackers)
        self.metrics = Metrics(self.folder.path, keep_bytes, trackers)

    def _make_engine(self, choice: Choice | None) -> None:
        """Build the stage's engine, and fill it from the checkpoint, or from the source that the run starts from."""
        text, console = self.batches.source.text, self.console
        state = SavedState(choice.sound) if choice else state_to_start_from(self.recipe, text, self.processes, console)
        self.watchdog.progress("building the model", Limit.SETUP)
        self.engine = self.engines.build(self.schedule, self.stage, initialised=state is None)
        if state:
            self.watchdog.progress("reading the checkpoint", Limit.SETUP)
            restore.load(self.engine, state)
            state.close()

    def _announce_and_tidy(self, choice: Choice | None) -> None:
        zero_stage = self.engines.zero_stages(self.schedule)[self.stage]
        if choice:
            record_resume(choice, self.schedule, self.processes.world_size, zero_stage, self.metrics, self.console)
            self.writer.tidy(choice.folder)
        else:
            record_start(self.recipe, self.batches.source.text, self.processes.world_size, zero_stage, self.metrics)

    def train(self) -> None:
        """Run all remaining steps.

        Raises:
            Stopped: a signal asked the run to stop, and it has saved. Every rank raises it.
            UserError: a file of the run cannot be written, or training goes wrong repeatedly. Every rank raises it.
        """
        while self.totals.step < self.schedule.total_steps:
            try:
                self._run_steps()
            except Diverged as trouble:
                self._roll_back(trouble)
        if isnan(self.last_loss):  # no step was left, so nothing was evaluated
            self.last_loss = self._held_out_loss()
        self.writer.finish()
        self.recorder.stop_clock()
        self.metrics.write("end", **asdict(self.totals), loss=self.last_loss)
        self.processes.on_first(self.metrics.secure)

    def _run_steps(self) -> None:
        recipe = self.recipe
        self.console.begin(self.totals.step, self.schedule.total_steps)
        with Prefetcher(self._read_batches, self.processes.select_device) as prefetcher:
            for step in range(self.totals.step, self.schedule.total_steps):
                self._enter(self.schedule.stage_number(step))
                self.watchdog.progress(f"step {step + 1}")
                self.consensus.ask(self.writer.failure or self.metrics.failure)
                self._take_step(step, prefetcher)
                done, last = step + 1, step + 1 == self.schedule.total_steps
                stopping = self.consensus.stop_is_wanted() and not last
                evaluating = done % recipe.eval_every == 0 or last
                saving = done % recipe.save_every == 0 or done == self.schedule.decays_from or last or stopping
                if evaluating or saving or done in self.schedule.first_steps or done % recipe.log_every == 0:
                    self.recorder.flush()
                if evaluating:
                    self._evaluate(last)
                    self._end_stage_if_due()
                waiting = last or stopping or done in self.schedule.first_steps  # the stage may have ended early
                if saving or waiting:
                    self._save()
                if waiting:
                    self.writer.finish()
                if stopping:
                    self.consensus.stop(done)

    def _take_step(self, step: int, prefetcher: Prefetcher) -> None:
        self.recorder.begin()
        before = time.perf_counter()
        batches = prefetcher.batches(self.schedule, step)
        waited = time.perf_counter() - before
        plans = [self.schedule.at(step, micro_step) for micro_step in range(len(batches))]
        grown_lately = self.stage > 0 and step - self.schedule.first_steps[self.stage] < _STEPS_WATCHED_AFTER_GROWTH
        self.recorder.add(plans, self.engine.train_step(batches, plans, grown_lately), waited)

    @property
    def totals(self) -> Totals:
        """What the run has used so far."""
        return self.recorder.totals_now()

    def _enter(self, stage: int) -> None:
        """Enter a stage. A growth comes first if the stage cannot keep the training state (`Stage.continues`)."""
        if stage == self.stage:
            return
        self.evidence = Evidence()
        if not self.schedule.stages[stage].continues(self.schedule.stages[self.stage]):
            self._grow(stage)
        elif self.totals.step == 0:  # weights of a source: show whether they were taken over
            self.console.say(f"  held-out loss before the first step: {loss_in_words(self._held_out_loss())}")
        self.stage = stage

    def _grow(self, stage: int) -> None:
        loss_before = self._held_out_loss()
        self.watchdog.progress("growth")
        self.engine, record = self.engines.grow(self.engine, self.schedule, self.stage, stage)
        self.stage = stage  # before the loss after the growth, which is the new stage's
        record |= {"step": self.totals.step, "loss_before": loss_before, "loss_after": self._held_out_loss()}
        self.metrics.write("growth", **record)
        self.console.growth(record)

    def _end_stage_if_due(self) -> None:
        """Let the stage's trigger check the measurements so far, and end the stage if the trigger fires."""
        trigger = self.schedule.stages[self.stage].ends
        if trigger is None or self.schedule.stage_number(self.totals.step) != self.stage:
            return
        self.evidence.flops.append(self.totals.flops)
        self.evidence.losses.append(self.last_loss)
        if trigger.measures_gradients:
            self.evidence.correlations.append(self._gradient_agreement())
        if trigger.fires(self.evidence):
            self.schedule = self.recorder.schedule = self.schedule.ended_at(self.totals.step)
            self.metrics.write("stage_end", step=self.totals.step, stage=self.stage, because=repr(trigger))

    def _gradient_agreement(self) -> float:
        """The `gradient_agreement` of the last step's first micro-batch, cut so that all layers fit in memory."""
        stage, most = self.schedule.stages[self.stage], self.recipe.micro_batch(self.processes.world_size)
        cut = tuple(tensor[:most] for tensor in self._read_batches(self.schedule, self.totals.step - 1)[0])
        return gradient_agreement(self.engine.capture(), stage, cut, self.processes, self.engines.parts, self._risen())

    def _risen(self) -> tuple[float, ...]:
        return self.schedule.risen(self.stage, self.totals.step, self._stage.evaluation_depth)

    def _evaluate(self, last: bool) -> None:
        measured = self.held_out.measure(self.engine, self._stage, self._risen())
        self.last_loss = measured.loss
        record = {**asdict(self.totals), "depth": self._stage.evaluation_depth, **measured.record()}
        self.metrics.write("eval", **record)
        self.console.evaluation(record)
        if self.sampler.is_due(last) and (samples := self.sampler.write(self.engine, self._stage, self._risen())):
            self.metrics.write("samples", step=self.totals.step, samples=samples)
            self.console.samples(self.totals.step, samples)

    def _held_out_loss(self) -> float:
        return self.held_out.measure(self.engine, self._stage, self._risen(), only_sources=True).loss

    @property
    def _stage(self) -> Stage:
        return self.schedule.stages[self.stage]

    def _save(self) -> None:
        """Start to write a checkpoint.

        Raises:
            UserError: the previous checkpoint, or the metrics so far, could not be written. Every rank raises it.
        """
        self.watchdog.progress("saving", Limit.SAVE)
        self.writer.finish()  # first, since two recorded saves must mean that one is complete
        self.metrics.write("checkpoint", step=self.totals.step)
        self.processes.on_first(self.metrics.secure)
        course = Course(self.stage, self.schedule.stage_steps, deepcopy(self.evidence))
        recorded = (self.metrics.bytes, self.metrics.hash, deepcopy(self.loss_watch.memory))
        self.writer.begin(self.engine.capture(), Progress(self.totals, course, *recorded))

    def _roll_back(self, trouble: Diverged) -> None:
        """Go back to the last good checkpoint, and skip the data that was read between it and the trouble."""
        self.watchdog.progress("saving", Limit.SAVE)
        self.writer.finish()
        folder, tokens_per_batch = self.folder.checkpoints, self.recipe.global_batch_size * self.recipe.seq_len
        begins_at = self.schedule.begins_at
        choice = find_start(self.folder, self.run_id, begins_at, self.processes, self.console, before=trouble.first)
        to = choice.manifest.totals.step if choice else begins_at
        rollback = plan_rollback(trouble, self.loss_watch.memory, folder, to, self.schedule, tokens_per_batch)
        self.console.warn(str(rollback))
        totals_at_trouble = self.totals
        self.engine.close()
        self.metrics.write("discard", step=trouble.first)
        self.metrics.close()
        self.processes.on_first(lambda: discard_from(folder, trouble.first))
        self._start_or_resume(choice)
        self._apply_and_record(rollback, totals_at_trouble)  # after the restart, which replaces the loss memory

    def _apply_and_record(self, rollback: Rollback, totals_at_trouble: Totals) -> None:
        rollback.apply(self.loss_watch.memory)
        keys = ("flops", "seconds")
        lost = {f"lost_{key}": getattr(totals_at_trouble, key) - getattr(self.totals, key) for key in keys}
        self.metrics.write("rollback", step=rollback.to, **asdict(rollback), **lost)

    def _read_batches(self, schedule: Schedule, step: int) -> list[Batch]:
        return self.batches.of_step(schedule, step, self.loss_watch.memory.skipped_tokens)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish all files and free the engine. All ranks call it together."""
        self.watchdog.progress("closing", Limit.SAVE)
        self.writer.close()
        self.consensus.close()
        # Trackers close before the ranks part: they may take a while, and a launcher ends rank 0 soon after the others
        # left.
        self.processes.on_first(self.metrics.close)
        self.engine.close()
