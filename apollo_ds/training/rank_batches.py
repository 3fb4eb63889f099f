"""Read this rank's batches onto its device: those of a step, and those of the held-out text."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import Batch
from apollo_ds.planning.micro_batch import micro_batch_of
from apollo_ds.schedule.schedule import Schedule


@dataclass(frozen=True)
class RankBatches:
    """Reads the part of a run's batches that belongs to one rank."""

    recipe: Recipe
    processes: Processes
    source: BatchSource

    def of_step(self, schedule: Schedule, step: int, skipped_tokens: int) -> list[Batch]:
        """The micro-batches of a step, in a run that has skipped `skipped_tokens` tokens of the data stream."""
        plan, processes = schedule.at(step), self.processes
        batches = self.source.micro_batches(
            plan.first_token + skipped_tokens,
            plan.seq_len,
            self.recipe.global_batch_size,
            micro_batch_of(self.recipe, schedule.stages[plan.stage], plan, processes.world_size),
            *self._place,
        )
        return [_on_device(batch, processes.device) for batch in batches]

    def held_out(self, number: int = 0) -> Iterator[Batch]:
        """The batches that an evaluation reads from one of the source's held-out sets."""
        micro_batch = self.recipe.micro_batch(self.processes.world_size)
        for batch in self.source.validation_batches(self.recipe.eval_samples, micro_batch, *self._place, number):
            yield _on_device(batch, self.processes.device)

    @property
    def _place(self) -> tuple[int, int]:
        """The number of this rank's group, and the number of groups. All ranks of a group get the same samples."""
        groups = self.recipe.sample_groups(self.processes.world_size)
        return self.processes.rank // self.recipe.sequence_parallel, groups


def _on_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in batch)
