"""Small models and what grows from them, as pure functions."""

from typing import Any

import torch
from families import all_global, small_shape
from small_models import build, filled
from torch import Tensor

from apollo_ds.growth.counters import COHORT, WEIGHT, Counters
from apollo_ds.growth.depth_and_width import growth_between
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import PretrainingModel
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.stage import Stage


def shape(family: str, layers: int, width: int = 1, ffn: int = 1) -> ModelShape:
    return small_shape(
        FAMILIES[family],
        layers,
        hidden_size=8 * width,
        num_heads=2 * width,
        intermediate_size=12 * ffn,
        vocab_size=31,
        max_position_embeddings=8,
        **all_global(FAMILIES[family]),
    )


def randomised(model: PretrainingModel, seed: int = 5) -> PretrainingModel:
    """Away from the zero biases and unit normalisations of a fresh model, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 31, (3, 8), generator=generator)
    return ids, torch.tensor([[1, 4, 6]] * 3), torch.randint(0, 31, (3, 3), generator=generator)


def logits(model: PretrainingModel, ids: Tensor) -> Tensor:
    """What a model that trains computes for tokens (batch, tokens): (batch, tokens, vocabulary)."""
    places = model.family.position_ids(ids)
    mask = model.mask(ids, None)
    found: Tensor = model.model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False).logits
    return found


def loss(model: PretrainingModel, layer_map: tuple[int, ...]) -> Tensor:
    model.run_in_order(layer_map)
    return model(*batch())


def depth_map(family: str, layer_map: tuple[int, ...], **kind: Any) -> DepthMap:
    return DepthMap(layer_map, f"model.{FAMILIES[family].blocks}", family, **kind)


def applied(growth: Growth, name: str, old: dict[str, dict[str, Tensor]]) -> dict[str, Tensor | None]:
    """The new parameter's tensors, from an old state that has taken 100 steps."""
    before = Counters(adam_step=100)
    sources = growth.sources(name, set(old))
    blank = {source: torch.zeros_like(old[source]["weight"], dtype=torch.uint8) for source in sources}
    return {
        key: growth.apply(name, key, blank if key == COHORT else {s: old[s][key] for s in sources}, before)
        for key in growth.counters(before).tensors
    }


def grown(
    model: PretrainingModel, growth: Growth, target: ModelShape, moments: dict[str, dict[str, Tensor]] | None = None
) -> tuple[PretrainingModel, dict[str, dict[str, Tensor | None]]]:
    """The model that a growth leads to, in the precision of the old one, and the new state of each parameter."""
    old = {
        name: {"weight": p.detach(), **(moments or {}).get(name, dict.fromkeys(("exp_avg", "exp_avg_sq"), p.detach()))}
        for name, p in model.named_parameters()
    }
    new = build(target, len(growth.depth.layer_map), seed=9).to(next(model.parameters()).dtype)
    states = {}
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            states[name] = applied(growth, name, old)
            if states[name]["weight"] is not None:
                parameter.copy_(states[name]["weight"])
    return new, states


def grown_between(old_stage: Stage, new_stage: Stage, seed: int = 0) -> tuple[PretrainingModel, PretrainingModel]:
    """A randomised model of a stage, and what grows from it into the next."""
    old = filled(build_for(old_stage), seed=1)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    new = filled(build_for(new_stage), seed=2)
    growth = growth_between(old_stage, new_stage, f"model.{FAMILIES[old_stage.shape.family].blocks}", seed)
    weights = {name: parameter.detach() for name, parameter in old.named_parameters()}
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            sources = {source: weights[source] for source in growth.sources(name, set(weights))}
            weight = growth.apply(name, WEIGHT, sources, Counters())
            if weight is not None:
                parameter.copy_(weight)
    return old, new
