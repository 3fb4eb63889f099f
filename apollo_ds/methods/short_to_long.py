"""Short sequences first (Devlin et al. 2019; Li et al. 2021, arXiv 2108.06084). The shards stay the same."""

from dataclasses import replace
from typing import Literal

from apollo_ds.errors import UserError, shown
from apollo_ds.methods._base import Modifier, Run
from apollo_ds.schedule.stage import GrowthRule, Stage


class ShortToLong(Modifier):
    """Samples have a quarter of their length for nine tenths of the steps, then all of it, as BERT's had."""

    name: Literal["short_to_long"] = "short_to_long"
    divisors: tuple[int, ...] = (4, 1)
    """The sequence length is divided by each of these, one after the other."""
    until: tuple[float, ...] = (0.9,)
    """Fractions of the run at which the next length begins."""

    def modify(self, stages: list[Stage], run: Run) -> list[Stage]:
        """Cut the stages where the length changes; a stage that goes on with another length needs no growth."""
        self._check(run)
        cuts = [round(fraction * run.steps) for fraction in self.until]
        result = []
        first = 0
        for stage in stages:
            end = first + stage.steps
            starts = [first, *(cut for cut in cuts if first < cut < end)]
            for number, (start, stop) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
                divisor = self.divisors[sum(start >= cut for cut in cuts)]
                if stage.seq_len % divisor:
                    raise UserError(
                        f"method.divisors: {divisor} does not divide the {stage.seq_len} tokens of a stage of "
                        f"{stage.method}; use divisors that do, or a greater seq_len"
                    )
                if stage.seq_len // divisor % stage.pool:
                    raise UserError(
                        f"method.divisors: {divisor} leaves samples of {stage.seq_len // divisor} tokens, which pools "
                        f"of {stage.pool} do not divide; use smaller divisors, or a smaller pool"
                    )
                part = replace(stage, steps=stop - start, seq_len=stage.seq_len // divisor)
                if number:  # it goes on
                    part = replace(part, growth=GrowthRule(), restarts_learning_rate=False, learning_rate_rewind=1.0)
                result.append(part)
            first = end
        return result

    def _check(self, run: Run) -> None:
        cuts = [0, *(round(fraction * run.steps) for fraction in self.until), run.steps]
        if len(self.until) != len(self.divisors) - 1 or sorted(set(cuts)) != cuts:
            raise UserError(
                f"method.until: {len(self.divisors)} lengths need as many fractions between them as there are changes, "
                f"which increase between 0 and 1 and leave each a step, not {shown(list(self.until))}"
            )
        for divisor in self.divisors:
            if divisor < 1 or run.seq_len % divisor:
                raise UserError(f"method.divisors: {divisor} does not divide seq_len {run.seq_len}")
