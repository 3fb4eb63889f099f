"""Deep progressive training (Bu 2025, arXiv 2511.04981): zero layers or one for most of the run, then all at once."""

from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, Run, split_steps
from apollo_ds.methods._layer_counts import fewest_layers
from apollo_ds.models.families import family_of
from apollo_ds.schedule.learning_rate import Policy
from apollo_ds.schedule.stage import FRESH, NewLayers, Stage


class Dpt(GrowingMethod):
    """The model begins with embeddings and a head only, or with one layer as well. It grows to its full depth at four
    fifths of the run, while the learning rate is level.

    If it grows from zero layers, the new ones are random, as freshly initialised at full depth. If it grows from one
    layer, they are copies of it, so stacking and interpolating are the same. The paper's text was not read here, only
    others' notes on it, so its treatment of the moments is not known. Here old parameters keep their moments, copies
    take over those of their layer, and random layers start from zero, at age 0. The learning rate is not warmed up
    again, as published.
    """

    name: Literal["dpt"] = "dpt"
    first_layers: Literal[0, 1] = 0
    """Layers before the growth. A masked model has 1, since without layers it would see a mask and its position only; a
    `modernbert`, whose first layer is unlike the others, has 1 beside that one."""
    grow_at: float = Field(default=0.8, gt=0, lt=1)
    """Fraction of the run at which the model grows; before the learning rate decays, as published."""
    new_layers: NewLayers | None = None  # type: ignore[assignment]
    """What a new layer is: by default `random` from zero layers, and a `copy` from one or from a `source`."""

    stated: ClassVar[Collection[str]] = ("first_layers",)

    @property
    def lr_schedule(self) -> Policy:
        """Warm-up, stable, decay."""
        return "wsd"

    def check_fits(self, run: Run) -> None:
        """Refuse options that this model or run cannot have."""
        if "first_layers" in self.model_fields_set and self.first_layers != self._layers_alike_at_first(run):
            raise UserError(
                f"method.first_layers: a {run.shape.family} without layers sees a mask and its position only, so that "
                "it could learn only how frequent each token is; use 1"
            )
        has_layers = self.source is not None or self._layers_alike_at_first(run) > 0
        if self.new_layers is not None and self.new_layers not in FRESH and not has_layers:
            raise UserError(
                f"method.new_layers: {self.new_layers} is made from an old layer, and the model grows from zero "
                f"layers; use {' or '.join(FRESH)}, or first_layers: 1"
            )

    def _layers_alike_at_first(self, run: Run) -> int:
        return max(self.first_layers, int(family_of(run.shape).is_masked))

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages before and after the growth."""
        target, alike = run.shape.num_layers, self._layers_alike_at_first(run)
        first = min(target, fewest_layers(run.shape) - 1 + alike) if alike else 0
        counts = sorted({first, target})
        rule = self.growth_rule(run, new_layers=self.new_layers or ("copy" if first or self.source else "random"))
        return [
            self.stage(run, steps, layers, growth=rule)
            for layers, steps in zip(counts, split_steps(run.steps, [self.grow_at][: len(counts) - 1]), strict=True)
        ]
