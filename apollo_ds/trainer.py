"""The training loop: what happens at a step, at a growth, and between them."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from math import isnan
from typing import Any, Self

import torch

from apollo_ds import checkpoint
from apollo_ds.checkpoint import Course, Position, SavedState
from apollo_ds.checkpoint_files import Totals, newest_sound
from apollo_ds.checkpoint_writer import CheckpointWriter
from apollo_ds.consensus import Consensus
from apollo_ds.data import BatchSource
from apollo_ds.deepspeed_config import precision
from apollo_ds.detour import Detour, around
from apollo_ds.divergence import DivergenceWatch, Memory, WentWrong
from apollo_ds.engine import Engine, Processes
from apollo_ds.engine.engine import Batch
from apollo_ds.gradient_agreement import gradient_agreement
from apollo_ds.growth import Growth
from apollo_ds.hang import HangWatch
from apollo_ds.memory import peak_memory_bytes
from apollo_ds.metrics import Metrics
from apollo_ds.micro_batch import micro_batch_of
from apollo_ds.peak import measured_peak
from apollo_ds.progress import Progress
from apollo_ds.recipe import Recipe
from apollo_ds.recorder import StepRecorder
from apollo_ds.run_folder import RunFolder, plain
from apollo_ds.stage import Stage
from apollo_ds.stage_model import build_for, growth_into, needs_initial_values
from apollo_ds.stopping import StopRequest
from apollo_ds.triggers import Evidence
from apollo_ds.zero import under_zero, zero_stages

_UPDATES_MEASURED = 20
"""Steps after a growth whose update is compared with the weights: the growth's shock, if there is one."""


class Trainer:
    """One run on one rank, from its first step or its last checkpoint to its end."""

    def __init__(
        self,
        recipe: Recipe,
        processes: Processes,
        source: BatchSource,
        progress: Progress,
        request: StopRequest | None = None,
    ) -> None:
        self.recipe = recipe
        self.processes = processes
        self.source = source
        self.progress = progress
        self.folder = RunFolder(recipe.out)
        self.schedule = recipe.schedule()
        self.zero_stages = zero_stages(recipe, self.schedule.stages, processes.world_size)
        self.micro_batch = recipe.micro_batch(processes.world_size)
        self.last_loss = float("nan")
        self.consensus = Consensus(processes, request or StopRequest())
        self.writer = CheckpointWriter(self.folder.checkpoints, processes, recipe.keep_checkpoints, recipe.keep_every)
        self.hang = HangWatch(processes.rank, recipe.hang_seconds)
        stated = recipe.peak_flops and recipe.peak_flops * processes.world_size
        self.peak_flops = stated or measured_peak(processes, precision(recipe.deepspeed))
        self._start_or_resume()

    def _start_or_resume(self, detour: Detour | None = None, reached: Totals | None = None) -> None:
        newest, complaints = newest_sound(self.folder.checkpoints)
        if newest and self.processes.is_first:
            checkpoint.repair_latest(newest)
        for complaint in complaints:
            self.progress.say(f"[yellow]{complaint}; going back to the checkpoint before it[/]")
        saved = SavedState(newest) if newest else None
        planned = self.recipe.schedule().stage_steps
        self.schedule.set_stage_steps(saved.course.stage_steps if saved else planned)
        self.evidence = saved.course.evidence if saved else Evidence()
        totals = saved.totals if saved else Totals()
        self.stage = saved.course.stage if saved else 0
        source = self.schedule.source
        state = saved or (checkpoint.state_of(source) if source else None)
        self.engine = self._build_engine(self.stage, initialised=state is None)
        self.metrics = None
        if self.processes.is_first:
            self.metrics = Metrics(self.folder.path, saved.metrics_bytes if saved else 0, totals)
            self.metrics.describe(plain(self.recipe))
        memory = saved.memory if saved else Memory()
        self.watch = DivergenceWatch(self.recipe, detour.taken(memory) if detour else memory)
        self.recorder = StepRecorder(
            totals, self.schedule, self.processes, self.metrics, self.progress, self.watch, self.peak_flops
        )
        if state:
            self.engine.restore(state)
        if saved:
            zero_stage = self.zero_stages[self.stage]
            self._write("resume", step=self.totals.step, ranks=self.processes.world_size, zero_stage=zero_stage)
            self.progress.say(
                f"resume {newest} in stage {self.stage + 1} of {len(self.schedule.stages)} "
                f"(saved by {saved.saved_by} ranks, now {self.processes.world_size})"
            )
        else:
            entropy = self.source.corpus.unigram_entropy
            self._write(
                "start",
                step=0,
                ranks=self.processes.world_size,
                precision=precision(self.recipe.deepspeed),
                zero_stage=self.zero_stages[self.stage],
                unigram_entropy=entropy,
                **(source.cost if source else {}),
            )
            if source:
                self.progress.say(f"start from {source}")
        if detour and reached:
            lost = {f"lost_{key}": getattr(reached, key) - getattr(self.totals, key) for key in ("flops", "seconds")}
            self._write("detour", step=detour.to, **asdict(detour), **lost)

    def _build_engine(self, stage: int, initialised: bool) -> Engine:
        planned = self.schedule.stages[stage]
        model = build_for(
            planned,
            self.recipe.seed if initialised or needs_initial_values(planned) else None,
            activation_checkpointing=self.recipe.activation_checkpointing,
            compile_blocks=self.recipe.compile_blocks,
        )
        return Engine(model, under_zero(self.recipe, self.zero_stages[stage]), self.processes)

    def train(self) -> None:
        """Run every step that is left.

        Raises:
            Stopped: a signal asked to stop, and the run has saved.
            UserError: a file of the run cannot be written, or training goes wrong time and again; on every rank.
        """
        while self.totals.step < self.schedule.total_steps:
            try:
                self._train()
            except WentWrong as trouble:
                self._go_back(trouble)
        if isnan(self.last_loss):  # nothing was left to do
            self.last_loss = self._held_out_loss(self.stage)
        self._write("end", **asdict(self.totals), loss=self.last_loss)

    def _go_back(self, trouble: WentWrong) -> None:
        self.writer.finish()
        folder, unit = self.folder.checkpoints, self.recipe.global_batch_size * self.recipe.seq_len
        detour = around(trouble, self.watch.memory, folder, self.schedule, unit)
        self.progress.say(f"[bold red]{detour}[/]")
        reached = self.totals
        self.engine.close()
        if self.metrics:
            self.metrics.close()
        self.processes.on_first(lambda: checkpoint.discard_from(folder, trouble.first))
        self._start_or_resume(detour, reached)

    def _train(self) -> None:
        recipe, schedule, recorder = self.recipe, self.schedule, self.recorder
        with self._prefetched() as batches_of:
            for step in range(self.totals.step, schedule.total_steps):
                if schedule.stage_number(step) != self.stage:
                    self._enter(schedule.stage_number(step))
                self.hang.progress(f"step {step + 1}")
                self.consensus.ask(self._failure)
                recorder.begin()
                before = time.perf_counter()
                batches = batches_of(step)
                waited = time.perf_counter() - before
                plans = [schedule.at(step, micro_step) for micro_step in range(len(batches))]
                grown_lately = self.stage > 0 and step - schedule.first_steps[self.stage] < _UPDATES_MEASURED
                recorder.add(plans, self.engine.train_step(batches, plans, grown_lately), waited)

                done, last = step + 1, step + 1 == schedule.total_steps
                stopping = self.consensus.stop_is_wanted() and not last
                evaluating = done % recipe.eval_every == 0 or last
                saving = done % recipe.save_every == 0 or last or stopping
                if evaluating or saving or done in schedule.first_steps or done % recipe.log_every == 0:
                    recorder.flush()
                if evaluating:
                    self._evaluate()
                    self._end_stage_if_due()
                ending = last or stopping or done in schedule.first_steps
                if saving or ending:
                    self._save()
                if ending:
                    self.writer.finish()
                if stopping:
                    self.consensus.stop(done)

    @property
    def _failure(self) -> str | None:
        """Why this rank cannot go on."""
        return self.writer.failure or (self.metrics.failure if self.metrics else None)

    @property
    def totals(self) -> Totals:
        """What the run has used so far."""
        return self.recorder.totals_now()

    def _enter(self, stage: int) -> None:
        """Go on to a stage, with a growth if it trains other parameters or begins anew with them."""
        old, new = self.schedule.stages[self.stage], self.schedule.stages[stage]
        self.evidence = Evidence()
        if new.continues(old):
            self.stage = stage
        else:
            self._grow(stage)

    def _end_stage_if_due(self) -> None:
        """Let the stage's trigger look at what has been measured, and end the stage if it says so."""
        trigger = self.schedule.stages[self.stage].ends
        if trigger is None or self.schedule.stage_number(self.totals.step) != self.stage:
            return
        self.evidence.flops.append(self.totals.flops)
        self.evidence.losses.append(self.last_loss)
        if trigger.measures_gradients:
            self.evidence.correlations.append(self._correlated_layers())
        if trigger.fires(self.evidence):
            self.schedule.end_stage(self.totals.step)
            self._write("stage_end", step=self.totals.step, stage=self.stage, because=repr(trigger))

    def _correlated_layers(self) -> float:
        """See `gradient_agreement`, on the batches of the step just done."""
        stage = self.schedule.stages[self.stage]
        batch = self._micro_batches(self.totals.step - 1)[0]
        inputs, positions, labels = (tensor[: self.micro_batch] for tensor in batch)  # what all layers have room for
        return gradient_agreement(self.engine.capture(), stage, (inputs, positions, labels), self.processes)

    def _grow(self, stage: int) -> None:
        """Rebuild the engine for a stage, with the training state carried over by the stage's layer map."""
        old, new = self.schedule.stages[self.stage], self.schedule.stages[stage]
        loss_before = self._held_out_loss(self.stage)
        started = time.perf_counter()
        growth = growth_into(new, old, self.recipe.seed)
        self.hang.progress("growth")
        state = self.engine.capture()
        self.engine.close()
        self.engine = self._build_engine(stage, initialised=False)
        self.engine.restore(state, growth)
        self.stage = stage
        seconds = time.perf_counter() - started
        self._report(
            "growth",
            step=self.totals.step,
            **{"from": old.unique_layers, "to": new.unique_layers},
            map=list(growth.depth.layer_map) if isinstance(growth, Growth) else None,
            map_name=_name_of_growth(old, new),
            zero_stage=self.zero_stages[stage],
            loss_before=loss_before,
            loss_after=self._held_out_loss(stage),
            seconds=seconds,
            peak_memory_bytes=peak_memory_bytes(self.processes.device),
        )

    def _evaluate(self) -> None:
        self.last_loss = self._held_out_loss(self.stage)
        depth = self.schedule.stages[self.stage].evaluation_depth
        totals = self.totals
        self._report(
            "eval",
            step=totals.step,
            depth=depth,
            tokens=totals.tokens,
            flops=totals.flops,
            seconds=totals.seconds,
            loss=self.last_loss,
        )

    def _held_out_loss(self, stage: int) -> float:
        """Loss on the held-out text at the greatest depth that the stage trains."""
        layers = self.schedule.stages[stage]
        batches = self.source.validation_batches(
            self.recipe.eval_samples, self.micro_batch, self.processes.rank, self.processes.world_size
        )

        def on_device() -> Iterator[Batch]:
            for batch in batches:
                self.hang.progress("evaluation")
                yield _to_device(batch, self.processes.device)

        return self.engine.evaluate(on_device(), layers.map_to(layers.evaluation_depth))

    def _save(self) -> None:
        """Begin to write a checkpoint."""
        self._write("checkpoint", step=self.totals.step)
        metrics_bytes = self.metrics.flush() if self.metrics else 0
        course = Course(self.stage, self.schedule.stage_steps, deepcopy(self.evidence))
        position = Position(self.totals, course, metrics_bytes, deepcopy(self.watch.memory))
        self.writer.begin(self.engine.capture(), position)

    @contextmanager
    def _prefetched(self) -> Iterator[Any]:
        """A function from a step to its batches on the device; the next step's are read while one computes."""
        pending: dict[tuple[int, ...], Future[list[Batch]]] = {}
        with ThreadPoolExecutor(1, initializer=self.processes.select_device) as reader:

            def batches_of(step: int) -> list[Batch]:
                # The stages' steps are part of the key, because a stage may have ended since the batch was ordered.
                key, following = ((at, *self.schedule.stage_steps) for at in (step, step + 1))
                current = pending.pop(key, None) or reader.submit(self._micro_batches, step)
                pending.clear()
                if step + 1 < self.schedule.total_steps:
                    pending[following] = reader.submit(self._micro_batches, step + 1)
                return current.result()

            yield batches_of

    def _micro_batches(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a step, on its device."""
        plan = self.schedule.at(step)
        batches = self.source.micro_batches(
            replace(plan, first_token=plan.first_token + self.watch.memory.skipped_tokens),
            self.recipe.global_batch_size,
            micro_batch_of(self.recipe, self.schedule.stages[plan.stage], plan, self.processes.world_size),
            self.processes.rank,
            self.processes.world_size,
        )
        return [_to_device(batch, self.processes.device) for batch in batches]

    def _report(self, event: str, **values: Any) -> None:
        """Record an event and show it."""
        self._write(event, **values)
        {"eval": self.progress.evaluation, "growth": self.progress.growth}[event](values)

    def _write(self, event: str, **values: Any) -> None:
        if self.metrics:
            self.metrics.write(event, **values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish all files and free the engine. All ranks together."""
        self.writer.close()
        self.consensus.close()
        self.hang.close()
        if self.metrics:
            self.metrics.close()
        self.engine.close()


def _name_of_growth(old: Stage, new: Stage) -> str:
    learning = new.learning or old.learning
    return learning.operator if learning else new.growth.layer_map


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    inputs, positions, labels = (tensor.pin_memory().to(device, non_blocking=True) for tensor in batch)
    return inputs, positions, labels
