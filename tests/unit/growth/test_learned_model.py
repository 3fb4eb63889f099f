"""The model that learns a growth: its function, its growths in and out, its cost, and sources that do not fit."""

from itertools import product
from typing import Any

import pytest
import torch
from operators import FAMILY_NAMES, OPERATORS, between, shape, small_weights
from small_models import build, filled
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.errors import UserError
from apollo_ds.growth.counters import Counters
from apollo_ds.growth.learned.cost import learning_flops
from apollo_ds.growth.learned.ligo import LiGO
from apollo_ds.growth.learned.mango import Mango
from apollo_ds.growth.learned.model import LearnedGrowthModel, flat_name
from apollo_ds.growth.learned.operator import LearnedOperator
from apollo_ds.growth.learned.transitions import IntoLearning, OutOfLearning
from apollo_ds.models.families import family_of
from apollo_ds.models.fused import number_of_parts
from apollo_ds.models.pretraining import PretrainingModel

TEXT = "a small model knows what a large one is about to learn, so let it teach the large one how to begin. " * 4


GROWTHS = {"both": ((2, 4), 2), "uneven": ((2, 5), 3), "depth": ((2, 4), 1), "width": ((2, 2), 2)}
GROWN = list(product(OPERATORS, FAMILY_NAMES, GROWTHS))


@pytest.fixture(params=GROWN, ids=lambda param: f"{param[0].__name__}-{param[1]}-{param[2]}")
def operator(request: Any) -> LearnedOperator:
    kind, family, growth = request.param
    return between(kind, family, *GROWTHS[growth])


def coefficients(operator: LearnedOperator) -> dict[str, Tensor]:
    return {name: operator.initial(name, seed=3) for name in operator.coefficient_shapes}


def learning_model(operator: LearnedOperator) -> LearnedGrowthModel:
    model = filled(LearnedGrowthModel(operator), seed=3)
    with torch.no_grad():
        for name, weight in small_weights(operator).items():
            model.get_parameter(flat_name(name)).copy_(weight)
    return model


def plain(operator: LearnedOperator, weights: dict[str, Tensor]) -> PretrainingModel:
    model = build(operator.new, operator.new_layers, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.tensor([ord(letter) for letter in TEXT[:256]]).view(16, 16)
    return ids, torch.arange(15).expand(16, 15), ids[:, 1:]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("ffn", [4, 8])
def test_mango_begins_with_the_small_models_function_but_for_noise(
    family: str, ffn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Mango(shape(family, 2), 2, shape(family, 2, 2, ffn), 2)
    before = float(plain_small(operator)(*batch()).detach())
    noisy = float(learning_model(operator)(*batch()).detach())
    monkeypatch.setattr("apollo_ds.growth.learned.mango._NOISE", 0.0)
    assert float(learning_model(operator)(*batch()).detach()) == pytest.approx(before, abs=1e-5)
    assert 3e-5 < abs(noisy - before) < 0.1


def plain_small(operator: LearnedOperator) -> PretrainingModel:
    model = build(operator.old, operator.old_layers, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(small_weights(operator)[name])
    return model


def test_it_computes_what_the_plain_model_of_its_weights_does(operator: LearnedOperator) -> None:
    model = learning_model(operator)
    filled = plain(operator, model.large_weights())
    for order in (tuple(range(operator.new_layers)), (0, 0, 1)[: operator.new_layers]):
        model.run_in_order(order)
        filled.run_in_order(order)
        assert torch.allclose(model(*batch()), filled(*batch()), rtol=0, atol=1e-5)


def test_each_weight_follows_from_its_sources_alone(operator: LearnedOperator) -> None:
    everything = small_weights(operator) | coefficients(operator)
    for name, weight in operator.weights(everything).items():
        sources = operator.sources(name)
        assert len(set(sources)) == len(sources)
        alone = operator.weight(name, {source: everything[source] for source in sources})
        assert weight.shape == operator.new_shapes[name]
        assert torch.allclose(alone, weight, rtol=1e-5, atol=1e-6), name


def test_only_the_coefficients_learn_and_they_lower_the_loss(operator: LearnedOperator) -> None:
    model = learning_model(operator)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {flat_name(name) for name in operator.coefficient_shapes}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(*batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.01
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (name in trained), name
    for name, weight in small_weights(operator).items():
        assert torch.equal(model.get_parameter(flat_name(name)), weight)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_number_of_coefficients(family: str) -> None:
    """With old and new layers l, L; hidden sizes h, H; feed-forward sizes f, F; k kinds of parameter in a layer."""
    l, L, h, H, f, F = 2, 5, 8, 24, 16, 48  # noqa: E741
    ligo, mango = (between(kind, family, (l, L), width=3) for kind in OPERATORS)
    outside = 2 * (H - h) * h
    first = [name for name in ligo.new_shapes if ligo.place(name)[0] == 0]
    k = sum(number_of_parts(ligo.dimensions(name)) for name in first)
    m = 3 if family_of(ligo.new).is_gated else 2  # matrices of the feed-forward part
    assert count(ligo) == outside + L * (3 * (H - h) * h + (F - f) * f) + k * L * l
    assert count(mango) == 2 * H * h + L * l + (4 + m * F // H) * (4 + m * f // h)


def count(operator: LearnedOperator) -> int:
    return sum(torch.Size(size).numel() for size in operator.coefficient_shapes.values())


def test_it_moves_to_another_format_with_its_network() -> None:
    model = learning_model(between(LiGO, "gpt2", (2, 4))).to(torch.bfloat16)
    weights = model.large_weights()
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert model(*batch()).isfinite()
    assert not model.eval().grown.training
    assert [name for name, _ in model.named_modules()] == [""]


def test_growths_take_the_small_weights_in_and_the_large_ones_out(operator: LearnedOperator) -> None:
    before = Counters(adam_step=70, births=(0, 40), loss_scaler={"cur_scale": 8.0})
    small, model = small_weights(operator), filled(LearnedGrowthModel(operator), seed=3)
    into, out = IntoLearning(operator), OutOfLearning(operator)
    for growth in (into, out):
        assert growth.counters(before) == Counters(adam_step=0, births=(0,), loss_scaler={"cur_scale": 8.0})
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        old = {source: small[source] for source in into.sources(name, set(small))}
        new = into.apply(name, "weight", old, before)
        assert (new is None) == parameter.requires_grad
        assert into.apply(name, "exp_avg", old, before) is None
        state[name] = parameter.detach() if new is None else new
    expected = operator.weights(small | coefficients(operator))
    for name, weight in expected.items():
        old = {source: state[source] for source in out.sources(name, set(state))}
        made = out.apply(name, "weight", old, before)
        assert made is not None and torch.allclose(made, weight, rtol=1e-5, atol=1e-6), name
        assert out.apply(name, "exp_avg_sq", old, before) is None


def test_cost_of_learning_equals_the_counter(operator: LearnedOperator) -> None:
    model = learning_model(operator)
    model.grown.model.set_attn_implementation("eager")  # the counter does not see fused attention
    scored = family_of(operator.new).scored_positions(16)
    ids = batch()[0]
    with FlopCounterMode(display=False) as counter:
        model(ids, torch.arange(scored).expand(16, scored), ids[:, :scored]).backward()
    assert counter.get_total_flops() == learning_flops(operator, 16, 16)


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        (LiGO, {"hidden_size": 32, "num_heads": 8}, {}, "narrower"),
        (LiGO, {"num_heads": 4}, {}, "heads keep their size"),
        (LiGO, {"vocab_size": 64}, {}, "source's vocab_size"),
        (LiGO, {"hidden_size": 16, "num_heads": 4}, {}, "give a source that is smaller"),
        (Mango, {"intermediate_size": 12}, {}, "multiple of hidden_size"),
    ],
)
def test_sources_that_do_not_fit(kind: Any, old: dict[str, int], new: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(shape("bert", 2).model_copy(update=old), 2, shape("bert", 2, 2, 4).model_copy(update=new), 2)


def test_a_source_with_more_layers() -> None:
    with pytest.raises(UserError, match="4 layers cannot grow to 2"):
        LiGO(shape("bert", 4), 4, shape("bert", 2, 2, 4), 2)
