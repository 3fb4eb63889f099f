"""A learned operator trains through the scales of the model that it makes, and leaving the stage changes nothing."""

import pytest
import torch
from planned import batch, shape, stages
from small_models import build, filled
from torch import Tensor

from apollo_ds.growth.counters import WEIGHT, Counters
from apollo_ds.growth.learned.model import LearnedGrowthModel
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.transition import growth_into
from apollo_ds.planning.effect import effect_of_growth


@pytest.mark.parametrize("method", ["ligo", "mango"])
def test_the_grown_model_computes_what_the_learning_one_did(method: str) -> None:
    scales = {"residual_scale": "complete_p", "layernorm_scale": True}
    found = stages(method, "gpt2", of=shape("gpt2", 4, num_heads=4, hidden_size=32, **scales))
    number = next(i for i, stage in enumerate(found) if stage.learned_growth)
    learning, after = found[number : number + 2]
    model = filled(build_for(learning), seed=0)
    assert isinstance(model, LearnedGrowthModel)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    model.run_in_order(learning.map_to(learning.evaluation_depth))
    grown, growth = build(after.shape, after.unique_layers, seed=2), growth_into(after, learning, seed=0)
    old: dict[str, Tensor] = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in grown.named_parameters():
            sources = {source: old[source] for source in growth.sources(name, set(old))}
            weight = growth.apply(name, WEIGHT, sources, Counters())
            assert weight is not None
            parameter.copy_(weight)
    assert torch.allclose(model(*batch(after.shape)), grown(*batch(after.shape)), rtol=1e-5)
    assert grown.layers.hooks is not None
    assert effect_of_growth(found, number + 1) == "unchanged"
