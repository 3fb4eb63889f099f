"""bert2BERT (Chen et al., ACL 2022, arXiv 2110.07143): a wide model from a narrow one, then two-stage pretraining."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from apollo_ds.methods._base import GrowingMethod, MapName, Run, split_steps
from apollo_ds.methods._from_source import FromSource
from apollo_ds.methods._layer_counts import divisors_near
from apollo_ds.schedule.stage import GrowthRule, MomentRule, Stage, WidthRule


class Bert2Bert(FromSource, GrowingMethod):
    """A model of half the width and all the layers trains first, unless a source is given. Advanced knowledge
    initialisation widens it. For an eighth of the remaining steps, each step runs only the lowest 3, 6, ... or all 12
    layers, and trains the highest 3 of these. Then all layers train.
    """

    name: Literal["bert2bert"] = "bert2bert"
    growth_map: MapName = "stack"
    """Which old layer each new one is made from; all are old ones unless `source` has fewer layers."""
    width: WidthRule = "aki"
    """`tiled` for function-preserving initialisation."""
    moments: MomentRule = "reset"
    prefix_fraction: float = Field(default=5 / 40, ge=0, lt=1)
    """The part of the remaining steps in which prefixes of the model are trained."""
    was: ClassVar[Mapping[str, Any]] = {"growth_map": "interpolate"}

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages: the source, the training of prefixes, and the training of all layers."""
        target = run.shape.num_layers
        block = divisors_near(target, [1 / 4])[0]
        sampled_until = self.source_fraction + (1 - self.source_fraction) * self.prefix_fraction
        boundaries = [self.source_fraction, *([sampled_until] if self.prefix_fraction else [])]
        source_steps, *steps = split_steps(run.steps, boundaries)
        rule = self.growth_rule(run)
        source = self.source_stage(run, source_steps, target, hidden_divisor=2)
        if not self.prefix_fraction:
            return [source, self.stage(run, steps[0], target, growth=rule, restarts_learning_rate=True)]
        every_block = [float((depth - block) % block == 0) for depth in range(block, target + 1)]
        prefixes = self.stage(
            run,
            steps[0],
            target,
            depth_distribution=tuple(weight / sum(every_block) for weight in every_block),
            shallowest=block,
            layer_map="prefix",
            trained_top=block,
            growth=rule,
            restarts_learning_rate=True,
        )
        return [source, prefixes, self.stage(run, steps[1], target, growth=GrowthRule())]
