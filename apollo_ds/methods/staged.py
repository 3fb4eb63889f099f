"""Staged training (Shen et al., ICML 2022, arXiv 2203.06211): width and depth double when the loss flattens."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from apollo_ds.errors import UserError, shown
from apollo_ds.methods._base import (
    GrowingMethod,
    Rewarm,
    Run,
    check_fractions,
    check_identity,
    divided,
    silent_start,
    split_steps,
)
from apollo_ds.methods._layer_counts import layers_alike, named_layers
from apollo_ds.schedule.stage import MomentRule, NewLayers, Stage, WidthRule
from apollo_ds.schedule.triggers import SlopeFlatterThan

# The slope at which a growth pays, and how far the learning rate then goes back: slopes and c_op of the paper.
_SLOPES = {"width": -0.0475, "depth": -0.0575, "width_and_depth": -0.03}
_REWINDS = {"width": 1.776, "depth": 1.412, "width_and_depth": 2.455}


def _doublings(operators: Sequence[str], what: str) -> int:
    return sum(what in operator.split("_and_") for operator in operators)


def _latest(given: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the default of `grow_at`: a quarter of the run before each growth, or less for more than three growths."""
    growths = len(given["operators"])
    return tuple((number + 1) / max(4, growths + 1) for number in range(growths))


class Staged(GrowingMethod):
    """The model begins with half the width and half the depth. The width doubles, then the depth. In a pre-LN model
    this keeps the function.

    A stage ends when d log(loss) / d log(operations) of its last three evaluations rises above the published slope, or
    at `grow_at`. Moments are scaled like the gradients. The learning rate goes back to the place on its curve that the
    larger model would have reached at this loss, with a short warm-up.
    """

    name: Literal["staged"] = "staged"
    operators: tuple[Literal["width", "depth", "width_and_depth"], ...] = Field(("width", "depth"), min_length=1)
    """What doubles at each growth; `width_and_depth` doubles both at once."""
    grow_at: tuple[float, ...] = Field(default_factory=_latest)
    """Fractions of the run at which the model grows, at the latest: one for each growth. By default a quarter, a half
    and so on."""
    by_slope: bool = True
    """Whether a stage may end sooner, when the measured slope of the loss says so."""
    new_layers: NewLayers = "identity"
    """An identity leaves the function of a pre-LN model as it is; a post-LN model gets copies instead, and one with
    gates, in which identities would never learn, layers that begin as `zero`."""
    width: WidthRule = "block_diagonal"
    moments: MomentRule = "map_scaled"
    rewarm: Rewarm = "all"
    rewarm_fraction: float = Field(default=0.01, ge=0, le=1)

    fitted: ClassVar[Collection[str]] = ("new_layers",)

    def check_fits(self, run: Run) -> None:
        """Refuse identity layers where the family has none."""
        check_identity(self, run.shape, self.new_layers)

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages from the smallest model to the full one.

        Raises:
            UserError: `grow_at` does not have one increasing fraction for each growth, or the sizes cannot be halved.
        """
        if len(self.grow_at) != len(self.operators):
            raise UserError(
                f"method.grow_at: {len(self.operators)} growths need as many fractions, not {shown(list(self.grow_at))}"
            )
        check_fractions("method.grow_at", self.grow_at)
        halvings, alike = _doublings(self.operators, "depth"), layers_alike(run.shape)
        if alike % 2**halvings:
            nearest = run.shape.num_layers - alike % 2**halvings + 2**halvings
            raise UserError(
                f"method.operators: {named_layers(run.shape)} cannot be halved as often as depth doubles, "
                f"{halvings}; use model.num_layers={nearest}, for example"
            )
        new_layers = silent_start(run.shape, self.new_layers)
        stages = []
        for number, steps in enumerate(split_steps(run.steps, self.grow_at)):
            before, after = self.operators[:number], self.operators[number:]
            stages.append(
                self.stage(
                    run,
                    steps,
                    run.shape.num_layers - alike + alike // 2 ** _doublings(after, "depth"),
                    shape=divided(run.shape, hidden=2 ** _doublings(after, "width")),
                    growth=self.growth_rule(run, new_layers=new_layers),
                    learning_rate_rewind=_REWINDS[before[-1]] if before else 1.0,
                    ends=SlopeFlatterThan(_SLOPES[after[0]]) if after and self.by_slope else None,
                )
            )
        return stages
