"""Measure the loss on held-out text: on a run's sources, weighted by their shares, and on further sets."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import fsum, log
from typing import Any

from apollo_ds.data.batches import HeldOutSet
from apollo_ds.engine.engine import Engine
from apollo_ds.models.pretraining import Batch
from apollo_ds.schedule.stage import Stage
from apollo_ds.training.faults.watchdog import Watchdog
from apollo_ds.training.rank_batches import RankBatches


@dataclass(frozen=True)
class HeldOutLoss:
    """The results of an evaluation."""

    loss: float
    """The mean of the sources' losses, weighted by their shares, in nats a token."""
    bits_per_byte: float | None = None
    """The loss in bits a byte of text, weighted by the sources' shares; None for a masked model, or if the bytes are
    not known."""
    losses: dict[str, float] = field(default_factory=dict)
    """The loss of each set by its name, in nats a token; empty if there is only one set."""
    bits: dict[str, float] = field(default_factory=dict)
    """The loss in bits a byte of each set whose bytes are known, by name; empty for a masked model or a single set."""

    def record(self) -> dict[str, Any]:
        """The keys of an evaluation's line in metrics.jsonl."""
        told: dict[str, Any] = {"loss": self.loss}
        if self.bits_per_byte is not None:
            told["bits_per_byte"] = self.bits_per_byte
        if self.losses:
            told["losses"] = self.losses
        if self.bits:
            told["bits_per_byte_of"] = self.bits
        return told


@dataclass(frozen=True)
class HeldOutText:
    """Measures models on the held-out sets of a run. All ranks call it together."""

    batches: RankBatches
    watchdog: Watchdog

    def measure(
        self, engine: Engine, stage: Stage, risen: tuple[float, ...], only_sources: bool = False
    ) -> HeldOutLoss:
        """Measure the losses at the greatest depth that the stage trains. `risen` is that of `Engine.evaluate`."""
        layer_map = stage.map_to(stage.evaluation_depth)
        sets = [one for one in self.batches.source.held_out if one.share or not only_sources]
        losses = [engine.evaluate(self._read(number), layer_map, risen) for number in range(len(sets))]
        by_set = list(zip(sets, losses, strict=True))
        loss = fsum(one.share * loss for one, loss in by_set if one.share)  # 0 times infinity would be NaN
        named = {one.name: loss for one, loss in by_set} if len(by_set) > 1 else {}
        bits = {one.name: self._bits_per_byte(loss, [replace(one, share=1.0)]) for one, loss in by_set}
        known = {name: value for name, value in bits.items() if value is not None and named}
        return HeldOutLoss(loss, self.bits_per_byte(loss), named, known)

    def bits_per_byte(self, loss: float) -> float | None:
        """Convert a loss over the sources from nats a token to bits a byte; None as in `HeldOutLoss`."""
        return self._bits_per_byte(loss, self.batches.source.held_out)

    def _bits_per_byte(self, loss: float, sets: list[HeldOutSet]) -> float | None:
        """The bits of all tokens divided by their bytes, where a token of each set has the weight of its share."""
        sizes = [(one.share, one.bytes_per_token) for one in sets if one.share]
        if self.batches.source.family.is_masked or not all(size for _, size in sizes):
            return None
        return loss / log(2) / fsum(share * (size or 0) for share, size in sizes)

    def _read(self, number: int) -> Iterator[Batch]:
        for batch in self.batches.held_out(number):
            self.watchdog.progress("evaluation")
            yield batch
