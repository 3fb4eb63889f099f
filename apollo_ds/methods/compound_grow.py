"""CompoundGrow (Gu et al., NAACL 2021, arXiv 2010.12562): depth, feed-forward width and length grow together."""

from typing import Literal

from apollo_ds.errors import UserError
from apollo_ds.methods._base import GrowingMethod, MapName, Run, divided, split_steps
from apollo_ds.methods._layer_counts import counts_near
from apollo_ds.schedule.stage import MomentRule, Stage, WidthRule

_PARTS = (50, 70, 280)


class CompoundGrow(GrowingMethod):
    """A quarter, a half, then all of the depth, the feed-forward width and the sequence length.

    The paper's table of stages is not at hand; the steps are StackBERT's 50, 70 and 280 of 400. Widening leaves the
    function as it is, stacking does not. By default the copies of a feed-forward unit are weighed unevenly, because
    equal ones would stay equal without dropout.
    """

    name: Literal["compound_grow"] = "compound_grow"
    growth_map: MapName = "stack"
    width: WidthRule = "uneven"
    moments: MomentRule = "reset"

    def check_fits(self, run: Run) -> None:
        """See `Method`."""
        longest = 2 ** (len(self._layers(run)) - 1)
        if run.seq_len % longest:
            raise UserError(f"method: compound_grow begins with a {longest}th of seq_len, which {longest} must divide")

    def _layers(self, run: Run) -> list[int]:
        return counts_near(run.shape, (1 / 4, 1 / 2))

    def own_stages(self, run: Run) -> list[Stage]:
        """Three stages, or fewer where the depth has no such divisors."""
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
            )
            for count, steps, divisor in zip(layers, split_steps(run.steps, ends), divisors, strict=True)
        ]
