"""Depth up-scaling: a trained model gets more layers, and then all of it or only the new layers train on."""

from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar, Literal

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, MapName, Run
from apollo_ds.models.families import family_of
from apollo_ds.models.frozen import Frozen
from apollo_ds.models.layer_map import added
from apollo_ds.schedule.stage import MomentRule, NewLayers, Stage, WidthRule


class Upscale(GrowingMethod):
    """The source gets more layers before the first step, and may become wider. The whole run trains the grown model.

    By default, copies that add nothing at first are put between the layers, as in LLaMA Pro (Wu et al. 2024, arXiv
    2401.02415), which also sets `train: new`. SOLAR (Kim et al. 2023, arXiv 2312.15166) is `growth_map:
    duplicate_middle` with `new_layers: copy`. With such copies, `growth_map: stack` repeats the whole model, and
    `interpolate` repeats each layer.
    """

    stated: ClassVar[Collection[str]] = ("growth_map", "new_layers", "width")

    name: Literal["upscale"] = "upscale"
    train: Literal["all", "new"] = "all"
    """What trains: all, or the new layers alone, with all that was in the source frozen for the whole run."""
    growth_map: MapName = "block_expansion"
    new_layers: NewLayers | None = None  # type: ignore[assignment]
    """What a new layer is: by default `zero`, a copy that adds nothing yet, and in a post-LN model a `copy`."""
    width: WidthRule = "averaged"
    moments: MomentRule = "reset"

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the source as a stage of zero steps, and the stage of the grown model.

        Raises:
            UserError: no source is given, it cannot grow into the model, or `train: new` does not fit.
        """
        if self.source is None:
            raise UserError(
                "method.source: missing, and upscale grows a trained model; give a run's folder, or hf: and a saved one"
            )
        source = self.stage_of_source(run)
        new_layers = self.new_layers or ("zero" if family_of(run.shape).is_pre_norm else "copy")
        rule = self.growth_rule(run, new_layers=new_layers)
        grown = self.stage(run, run.steps, run.shape.num_layers, growth=rule)
        return [source, grown if self.train == "all" else self._with_old_layers_frozen(source, grown)]

    def _with_old_layers_frozen(self, source: Stage, grown: Stage) -> Stage:
        new = added(grown.grown_from(source))
        if not new:
            raise UserError(
                f"method.train: 'new' trains the new layers alone, and the model has no more than the source's "
                f"{source.unique_layers}; set a greater model.num_layers, or method.train=all"
            )
        for key in (*grown.shape.widths, "intermediate_size"):
            before, after = getattr(source.shape, key), getattr(grown.shape, key)
            if before != after:
                raise UserError(
                    f"method.train: 'new' freezes the source's layers, and these become wider; set model.{key}="
                    f"{before} as in the source, not {after}, or method.train=all"
                )
        old = tuple(layer for layer in range(grown.unique_layers) if layer not in new)
        return replace(grown, frozen=Frozen(old, head=True))
