"""Net2Net (Chen et al., ICLR 2016, arXiv 1511.05641): units are copied at random, layers added as identities."""

from collections.abc import Collection
from typing import ClassVar, Literal

from apollo_ds.methods._base import GrowingMethod, Run, check_identity, silent_start, split_steps
from apollo_ds.methods._from_source import FromSource
from apollo_ds.methods._layer_counts import counts_near
from apollo_ds.models.families import family_of
from apollo_ds.schedule.stage import MomentRule, NewLayers, Stage, WidthRule


class Net2Net(FromSource, GrowingMethod):
    """A model of half the width trains first, unless a source is given. A pre-LN model has half the layers as well,
    because identity layers keep its function.

    Random copies of units change the mean and variance in a layer normalisation. So only the widening of feed-forward
    units keeps the function.
    """

    name: Literal["net2net"] = "net2net"
    new_layers: NewLayers = "identity"
    width: WidthRule = "net2net"
    moments: MomentRule = "reset"

    fitted: ClassVar[Collection[str]] = ("new_layers",)

    def check_fits(self, run: Run) -> None:
        """Refuse identity layers where the family has none."""
        check_identity(self, run.shape, self.new_layers)

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages of the source and of the grown model."""
        target = run.shape.num_layers
        layers = counts_near(run.shape, [1 / 2])[0] if family_of(run.shape).is_pre_norm else target
        small, large = split_steps(run.steps, [self.source_fraction])
        rule = self.growth_rule(run, new_layers=silent_start(run.shape, self.new_layers))
        return [
            self.source_stage(run, small, layers, hidden_divisor=2),
            self.stage(run, large, target, growth=rule, restarts_learning_rate=True),
        ]
