"""The cost that a run is compared with: all layers of its model, at full length, from the first token on."""

from dataclasses import dataclass
from typing import Self

from apollo_ds.config.recipe import Recipe
from apollo_ds.models.flops import training_flops
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.in_words import flops_in_words
from apollo_ds.schedule.source import SourceModel
from apollo_ds.schedule.totals import Totals


@dataclass(frozen=True)
class AllLayers:
    """The cost of training all layers of a model, computed by the closed form."""

    layers: int
    flops_per_token: float
    flops_before: float
    """The operations spent on what the run starts from, if they are known and the run's totals do not count them."""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The cost for the model of a recipe."""
        source = recipe.schedule().source
        return cls.of_model(recipe.model, recipe.seq_len, source.before.flops if source else 0.0)

    @classmethod
    def of_model(cls, shape: ModelShape, seq_len: int, flops_before: float) -> Self:
        """The cost for a model of this shape, in samples of `seq_len` tokens."""
        return cls(shape.num_layers, training_flops(shape, shape.num_layers, seq_len, 1) / seq_len, flops_before)

    def share(self, flops: float, tokens: float) -> float:
        """The operations of a run and its source, divided by those of all layers on `tokens` tokens. May exceed 1."""
        return (flops + self.flops_before) / (self.flops_per_token * tokens)


def cost_in_words(recipe: Recipe, totals: Totals) -> str:
    """A run's cost in words, such as `22.7 TFLOP, 93.9% of all 12 layers on the same tokens`."""
    whole, source = AllLayers.of(recipe), recipe.schedule().source
    before = f" (and {flops_in_words(whole.flops_before)} before it)" if whole.flops_before else ""
    unknown = f"; what {source.name} has cost is not known" if isinstance(source, SourceModel) else ""
    share = whole.share(totals.flops, totals.tokens)
    return (
        f"{flops_in_words(totals.flops)}{before}, {share:.1%} of all {whole.layers} layers on the same tokens{unknown}"
    )
