"""The facts about a run's model at a checkpoint that its model card needs."""

import logging
from dataclasses import dataclass
from functools import cached_property
from math import exp, isfinite
from pathlib import Path

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import Recorded
from apollo_ds.data.text import Text
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import Event, is_as_recorded, read_metrics
from apollo_ds.experiments.history import recorded_loss
from apollo_ds.models.families import Family, family_of
from apollo_ds.planning.in_words import MOST_NATS
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import SourceModel
from apollo_ds.schedule.totals import Totals

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """A run's model at a checkpoint, and the run's records about it."""

    run: Path
    """The run's folder."""
    recorded: Recorded
    recipe: Recipe
    text: Text
    schedule: Schedule
    """The schedule as it was trained. A stage that ended early has the steps that it took."""
    totals: Totals
    """The totals of training up to the checkpoint."""
    metrics_bytes: int
    """The number of bytes of metrics.jsonl up to the checkpoint, from its manifest."""
    metrics_hash: str | None
    """The hash of these bytes. None if an earlier version wrote the checkpoint."""

    @property
    def family(self) -> Family:
        """The model's."""
        return family_of(self.recipe.model)

    @cached_property
    def evaluation(self) -> Event | None:
        """The last evaluation up to the checkpoint. None if there is none.

        If metrics.jsonl does not fit the checkpoint, it is None too, and a line is logged.
        """
        path = self.run / "metrics.jsonl"
        try:
            if not is_as_recorded(path, self.metrics_bytes, self.metrics_hash):
                raise ValueError
            events = read_metrics(path)
        except (OSError, ValueError, UserError):
            _log.warning("%s: is missing or damaged, so that the model card tells no loss; restore it", path)
            return None
        done = [event for event in events if event["event"] == "eval" and event["step"] <= self.totals.step]
        return done[-1] if done else None

    @property
    def measured(self) -> dict[str, float]:
        """The measures on the held-out text, by the hub's names. For a masked model they are of the masked tokens."""
        loss = recorded_loss(self.evaluation["loss"]) if self.evaluation else float("inf")
        if not self.evaluation or not isfinite(loss):
            return {}
        measured = {"loss": round(loss, 4)}
        if loss < MOST_NATS:
            measured["perplexity"] = float(f"{exp(loss):.4g}")
        if self.evaluation.get("bits_per_byte") is not None:
            measured["bits_per_byte"] = round(self.evaluation["bits_per_byte"], 4)
        return measured

    @property
    def task(self) -> str:
        """The hub's name for the model's task."""
        return "fill-mask" if self.family.is_masked else "text-generation"

    @property
    def text_names(self) -> list[str]:
        """The names of the folders of its texts, without the folders above them."""
        return [Path(source.name).name for source in self.text.sources]

    @property
    def base_model(self) -> str | None:
        """The hub's name of the model that the run started from. None if its files are not in the hub's cache."""
        source = self.schedule.source
        is_of_hub = isinstance(source, SourceModel) and "snapshots" in source.folder.parts
        return source.hf if isinstance(source, SourceModel) and is_of_hub else None
