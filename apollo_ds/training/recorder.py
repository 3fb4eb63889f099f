"""Collect the results of steps and write them to the metrics file, without making the device wait at every step."""

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from apollo_ds.config.deepspeed import precision
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import StepResult
from apollo_ds.engine.hardware import Utilisation
from apollo_ds.engine.processes import Processes
from apollo_ds.planning.all_layers import AllLayers
from apollo_ds.planning.step_flops import remaining_flops, step_flops
from apollo_ds.schedule.schedule import Schedule, StepPlan
from apollo_ds.schedule.totals import Totals
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults.loss_spikes import LossWatch
from apollo_ds.training.metrics import Metrics, NoMetrics
from apollo_ds.training.step_line import Standing
from apollo_ds.training.step_times import StepTimes

_STRAGGLES = 1.5
"""A rank whose own work takes so many times as long as the median rank's is reported."""


class StepRecorder:
    """Keeps results on the device until `flush`, which averages the loss over ranks, and writes and shows all."""

    def __init__(
        self,
        recipe: Recipe,
        totals: Totals,
        schedule: Schedule,
        processes: Processes,
        metrics: Metrics | NoMetrics,
        console: RunConsole,
        watch: LossWatch,
    ) -> None:
        self.totals = totals
        self.schedule = schedule
        self.processes = processes
        self.metrics = metrics
        self.console = console
        self.watch = watch
        self.utilisation = Utilisation(processes, precision(recipe.deepspeed), recipe.peak_flops)
        self.all_layers = AllLayers.of(recipe)
        self.times = StepTimes(processes)
        self._seconds_before, self._flops_before = totals.seconds, totals.flops
        self._flops_flushed = totals.flops
        self._started = self._flushed = time.perf_counter()
        self._ended: float | None = None
        self._pending: list[tuple[StepPlan, float, StepResult, Totals]] = []

    def totals_now(self) -> Totals:
        """What the run has used so far. Its time runs until now, or until `stop_clock`."""
        now = self._ended or time.perf_counter()
        self.totals = replace(self.totals, seconds=self._seconds_before + now - self._started)
        return self.totals

    def stop_clock(self) -> None:
        """Note that training has ended. Later work, such as the export, does not count as its time."""
        self._ended = time.perf_counter()

    def begin(self) -> None:
        """Note that a step begins. Time between a flush and the next step does not count for the speed of steps."""
        if not self._pending:
            self._flushed = time.perf_counter()

    def add(self, plans: Sequence[StepPlan], result: StepResult, waited: float) -> None:
        """Note a step.

        Args:
            plans: one for each micro-batch.
            result: the step's result.
            waited: the seconds for which the step waited for its batches.
        """
        plan = plans[0]
        self.times.add(waited, result)
        totals = self.totals_now()
        self.totals = replace(
            totals,
            step=totals.step + 1,
            tokens=totals.tokens + self.schedule.global_batch_size * plan.seq_len,
            flops=totals.flops + fmean(step_flops(self.schedule, plan) for plan in plans),
        )
        self._pending.append((plan, fmean(plan.depth for plan in plans), result, self.totals))

    def flush(self) -> None:
        """Write the steps that were noted since the last flush. All ranks must call it together.

        Raises:
            Diverged: a step shows that training has gone wrong. Every rank raises it.
        """
        if not self._pending:
            return
        losses = torch.stack([result.loss.float() for _, _, result, _ in self._pending])
        mean_losses = (self.processes.sum(losses) / self.processes.world_size).tolist()
        norms = torch.stack([result.grad_norm.float().reshape(()) for _, _, result, _ in self._pending]).tolist()
        ratios = self._update_ratios()
        # Only now is a GPU done with the last of these steps. A stage may end there, so its time must be right.
        self._pending[-1] = (*self._pending[-1][:3], self.totals_now())
        now = time.perf_counter()
        tokens = sum(self.schedule.global_batch_size * plan.seq_len for plan, *_ in self._pending)
        tokens_per_second = tokens / (now - self._flushed)
        flops = self.totals.flops - self._flops_flushed
        utilisation = self.utilisation.of(flops / (now - self._flushed))
        for (plan, depth, _, totals), loss, norm in zip(self._pending, mean_losses, norms, strict=True):
            self.watch.see(totals.step, plan.stage, loss, norm)
            record = {
                "step": totals.step,
                "stage": plan.stage,
                "unique_layers": self.schedule.stages[plan.stage].unique_layers,
                "depth": int(depth) if depth == int(depth) else depth,
                "seq_len": plan.seq_len,
                "tokens": totals.tokens,
                "flops": totals.flops,
                "loss": loss,
                "lr": plan.learning_rate,
                "grad_norm": norm,
                "skipped_steps": self.watch.memory.skipped_steps,
                "seconds": totals.seconds,
                "tokens_per_second": tokens_per_second,
            }
            if plan.new_learning_rate is not None:
                record["new_lr"] = plan.new_learning_rate
            if totals.step in ratios:
                record["update_to_weight"] = ratios[totals.step]
            self.metrics.write("step", **record)
        self.console.step(self._standing(record, now))
        ranks = self.times.compare()
        if ranks["slowdown"] > _STRAGGLES:
            self.console.straggler(ranks)
        self.metrics.write("ranks", step=totals.step, utilisation=utilisation, **ranks)
        self.metrics.flush()
        self._flushed, self._flops_flushed = now, self.totals.flops
        self._pending.clear()

    def _update_ratios(self) -> dict[int, float]:
        """The norm of the update divided by the norm of the weights, by step, for the steps that measured it."""
        measured = {totals.step: result.squares for *_, result, totals in self._pending if result.squares is not None}
        if not measured:
            return {}
        update, weight = self.processes.sum(torch.stack(list(measured.values()))).sqrt().unbind(1)
        return dict(zip(measured, (update / weight).tolist(), strict=True))

    def _standing(self, record: dict[str, Any], now: float) -> Standing:
        """The parts of a step's record that are shown. The time left is estimated from the speed since this start."""
        left = remaining_flops(self.schedule, record["step"])
        return Standing(
            step=record["step"],
            steps=self.schedule.total_steps,
            stage=record["stage"] + 1,
            stages=len(self.schedule.stages),
            depth=record["depth"],
            layers=record["unique_layers"],
            loss=record["loss"],
            grad_norm=record["grad_norm"],
            learning_rate=record["lr"],
            new_learning_rate=record.get("new_lr"),
            tokens_per_second=record["tokens_per_second"],
            flops=record["flops"],
            share=self.all_layers.share(record["flops"], record["tokens"]),
            seconds_left=left * (now - self._started) / (record["flops"] - self._flops_before),
        )
