"""G_stack (Du et al., NeurIPS 2024, arXiv 2405.15319): a quarter of the layers trains, then is stacked four times."""

from collections.abc import Collection
from math import log10
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from apollo_ds.errors import UserError, shown
from apollo_ds.methods._base import GrowingMethod, MapName, Run, split_steps
from apollo_ds.methods._layer_counts import check_divides, counts_near
from apollo_ds.models.flops import parameters_between
from apollo_ds.schedule.stage import MomentRule, Stage


def law_tokens(parameters: float, operations: float) -> float:
    """Return the tokens d for the small model: log10 d = 0.88 log10 N + 163.27 / log10 C - 5.74 (arXiv 2405.15319).

    N is the number of the large model's parameters without embeddings. C = 6 N D is the number of operations that train
    it on the run's D tokens. For 8 billion parameters and 15 trillion tokens, as of Llama 3, d is 6.58 billion.
    """
    return 10 ** (0.88 * log10(parameters) + 163.27 / log10(operations) - 5.74)


def _moment(given: Any) -> float | str:
    """Read a fraction of the run, or the word `law`."""
    if given == "law":
        return str(given)
    try:
        fraction = float(given)
    except (TypeError, ValueError):
        fraction = 0.0
    if not 0 < fraction < 1:
        raise ValueError(f"must be a fraction between 0 and 1, or law, not {shown(given)}")
    return fraction


_FRACTION = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
Moment = Annotated[
    float | Literal["law"],
    PlainValidator(_moment),
    WithJsonSchema({"anyOf": [_FRACTION, {"const": "law"}], "default": 0.1}),
]


class GStack(GrowingMethod):
    """The model grows once, by a factor of four. The optimizer and the learning rate begin anew, as published."""

    name: Literal["g_stack"] = "g_stack"
    factor: int = Field(default=4, ge=2)
    """How many times as many layers the model has after its growth. The nearest divisor of the layers is taken."""
    grow_at: Moment = 0.1
    """The fraction of the run at which the model grows, or `law`: after as many tokens as the paper's law says
    (`law_tokens`). The law is for large runs: with 12 layers of 768 it asks for 9.2 of 10 billion tokens, and for 3.3
    of 100 billion."""
    growth_map: MapName = "stack"
    moments: MomentRule = "reset"

    fitted: ClassVar[Collection[str]] = ("factor",)

    def check_fits(self, run: Run) -> None:
        """Refuse a factor that does not divide the layers."""
        if self.sets("factor"):
            check_divides("factor", self.factor, run.shape)

    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages of the small model and of the large one."""
        counts = counts_near(run.shape, [1 / self.factor])
        grow_at = [self._fraction(run)] if len(counts) > 1 else []
        return [
            self.stage(run, steps, layers, growth=self.growth_rule(run), restarts_learning_rate=True)
            for layers, steps in zip(counts, split_steps(run.steps, grow_at), strict=True)
        ]

    def _fraction(self, run: Run) -> float:
        if self.grow_at != "law":
            return self.grow_at
        known, tokens = parameters_between(run.shape), run.steps * run.tokens_per_step
        wanted = law_tokens(known, 6 * known * tokens)
        steps = round(wanted / run.tokens_per_step)
        if 0 < steps < run.steps:
            return steps / run.steps
        other = "and the run has" if steps else "less than half a step's, which has"
        fix = "give the run more steps" if steps else "make global_batch_size smaller"
        raise UserError(
            f"method.grow_at: the law asks for {wanted:.3g} tokens of the small model, {other} "
            f"{tokens if steps else run.tokens_per_step:,}; {fix}, or give a fraction, such as 0.1"
        )
