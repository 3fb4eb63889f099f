"""CompoundGrow (Gu et al., NAACL 2021, arXiv 2010.12562): depth, feed-forward width and length grow together."""

from itertools import accumulate
from typing import Annotated, Literal

from pydantic import Field

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, MapName, Run, divided, split_steps
from apollo_ds.methods._layer_counts import counts_near
from apollo_ds.methods._stage_list import StageSizes, sizes_of
from apollo_ds.schedule.stage import MomentRule, Stage, WidthRule

_PARTS = (50, 70, 280)


class CompoundGrow(GrowingMethod):
    """The stages have a quarter, a half, then all of the depth, the feed-forward width and the sequence length. A list
    in the recipe can replace them.

    The paper's table of stages was not available; the steps are StackBERT's 50, 70 and 280 of 400. Widening keeps the
    function, stacking does not. By default the copies of a feed-forward unit have uneven weights, because equal copies
    would stay equal without dropout.
    """

    name: Literal["compound_grow"] = "compound_grow"
    stage_list: Annotated[tuple[StageSizes, ...], Field(min_length=1)] | None = None
    """The stages in place of the three, in order, such as `[{fraction: 0.2, layers: 3, seq_len: 64}, {fraction: 0.8}]`.
    The last trains the whole model."""
    restarts_learning_rate: bool = False
    """Whether each stage begins the learning-rate schedule anew, warm-up included, and comes to its end."""
    growth_map: MapName = "stack"
    width: WidthRule = "uneven"
    moments: MomentRule = "reset"

    def check_fits(self, run: Run) -> None:
        """Refuse a `seq_len` that the first stage cannot cut evenly."""
        longest = 2 ** (len(self._layers(run)) - 1)
        if self.stage_list is None and run.seq_len % longest:
            raise UserError(f"method: compound_grow begins with a {longest}th of seq_len, which {longest} must divide")

    def _layers(self, run: Run) -> list[int]:
        return counts_near(run.shape, (1 / 4, 1 / 2))

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages of the list; without one, three stages, or fewer if the depth lacks such divisors."""
        if self.stage_list is not None:
            return self._listed_stages(self.stage_list, run)
        layers = self._layers(run)
        parts = _PARTS[3 - len(layers) :]
        ends = [sum(parts[: number + 1]) / sum(parts) for number in range(len(parts) - 1)]
        divisors = [2**power for power in reversed(range(len(layers)))]
        return [
            self.stage(
                run,
                steps,
                count,
                shape=divided(run.shape, inner=divisor),
                seq_len=run.seq_len // divisor if run.seq_len % divisor == 0 else run.seq_len,
                growth=self.growth_rule(run),
                restarts_learning_rate=self.restarts_learning_rate,
            )
            for count, steps, divisor in zip(layers, split_steps(run.steps, ends), divisors, strict=True)
        ]

    def _listed_stages(self, listed: tuple[StageSizes, ...], run: Run) -> list[Stage]:
        sizes = sizes_of("method.stage_list", listed, run)
        if self.new_layers != "copy" and any(given.feed_forward_rank for given in listed):
            raise UserError(
                f"method.new_layers: {self.new_layers} is for whole matrices, and a stage has a feed_forward_rank; use "
                "copy, or whole matrices"
            )
        ends = list(accumulate(given.fraction for given in listed[:-1]))
        return [
            self.stage(
                run,
                steps,
                found["layers"],
                shape=run.shape.model_copy(update={"intermediate_size": found["intermediate_size"]}),
                seq_len=found["seq_len"],
                pool=given.pool,
                feed_forward_rank=given.feed_forward_rank,
                growth=self.growth_rule(run),
                learning_rate_scale=given.learning_rate_scale,
                restarts_learning_rate=self.restarts_learning_rate,
            )
            for given, found, steps in zip(listed, sizes, split_steps(run.steps, ends), strict=True)
        ]
