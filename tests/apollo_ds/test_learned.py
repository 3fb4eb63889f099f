"""Learned growth operators: what they equal when their coefficients are set so, and what learning them does."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.errors import UserError
from apollo_ds.growth.between_stages import width_between
from apollo_ds.growth.depth import DepthMap
from apollo_ds.growth.learned.cost import learning_flops
from apollo_ds.growth.learned.ligo import LiGO
from apollo_ds.growth.learned.mango import Mango
from apollo_ds.growth.learned.model import LearnedGrowthModel, flat_name
from apollo_ds.growth.learned.operator import LearnedOperator, combine
from apollo_ds.growth.learned.transitions import IntoLearning, OutOfLearning
from apollo_ds.growth.state import Counters
from apollo_ds.growth.width import WidthMap
from apollo_ds.models.axes import dimensions
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import scored_positions
from apollo_ds.models.layer_map import LAYER_MAPS
from apollo_ds.models.pretraining import PretrainingModel, build
from apollo_ds.models.shape import ModelShape

FAMILY_NAMES = sorted(FAMILIES)
OPERATORS = [LiGO, Mango]
TEXT = "a small model knows what a large one is about to learn, so let it teach the large one how to begin. " * 4


def shape(family: str, layers: int, width: int = 1, ffn: int = 2) -> ModelShape:
    return ModelShape(
        family=family,
        num_layers=layers,
        hidden_size=8 * width,
        num_heads=2 * width,
        intermediate_size=8 * ffn,
        vocab_size=128,
        max_position_embeddings=16,
    )


def between(kind: type[LearnedOperator], family: str, layers: tuple[int, int], width: int = 2) -> LearnedOperator:
    old, new = layers
    return kind(shape(family, old), old, shape(family, new, width, 2 * width), new)


GROWTHS = {"both": ((2, 4), 2), "uneven": ((2, 5), 3), "depth": ((2, 4), 1), "width": ((2, 2), 2)}


@pytest.fixture(
    params=[(kind, family, growth) for kind in OPERATORS for family in FAMILY_NAMES for growth in GROWTHS],
    ids=lambda param: f"{param[0].__name__}-{param[1]}-{param[2]}",
)
def operator(request: Any) -> LearnedOperator:
    kind, family, growth = request.param
    return between(kind, family, *GROWTHS[growth])


def small_weights(operator: LearnedOperator) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    model = build(operator.old, operator.old_layers, seed=1)
    return {n: p.detach() + 0.1 * torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()}


def coefficients(operator: LearnedOperator) -> dict[str, Tensor]:
    return {name: operator.initial(name, seed=3) for name in operator.coefficient_shapes}


def learning_model(operator: LearnedOperator) -> LearnedGrowthModel:
    model = LearnedGrowthModel(operator, seed=3)
    with torch.no_grad():
        for name, weight in small_weights(operator).items():
            model.get_parameter(flat_name(name)).copy_(weight)
    return model


def plain(operator: LearnedOperator, weights: dict[str, Tensor]) -> PretrainingModel:
    model = build(operator.new, operator.new_layers, None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.tensor([ord(letter) for letter in TEXT[:256]]).view(16, 16)
    return ids, torch.arange(15).expand(16, 15), ids[:, 1:]


def one_hot(index: tuple[int, ...], old_size: int) -> Tensor:
    return torch.eye(old_size)[list(index)]


# What the general map equals


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("how", ["net2net", "tiled"])
@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(sorted(LAYER_MAPS)), old=st.integers(1, 4), new=st.integers(4, 9), width=st.integers(2, 4))
def test_fixed_matrices_give_the_depth_and_width_maps(
    family: str, how: Any, name: str, old: int, new: int, width: int
) -> None:
    """Stacking, interpolation and their kin with Net2Net and FPI: one-hot rows, shared among copies that consume."""
    operator = LiGO(shape(family, old), old, shape(family, new, width, 3 * width), new)
    weights = small_weights(operator)
    layer_map = LAYER_MAPS[name](old, new)
    depth = DepthMap(layer_map, f"model.{FAMILIES[family].blocks}", family)
    maps = width_between(operator.old, operator.new, how, seed=4)
    assert isinstance(maps, WidthMap)
    for parameter, full_shape in operator.new_shapes.items():
        layer, kind = operator.place(parameter)
        sources = [weights[source] for source in (operator.in_old_layers(kind) if layer is not None else [parameter])]
        matrices: list[Tensor | None] = []
        for dimension in dimensions(family, parameter):
            axis = maps.axes[dimension.axis] if dimension else None
            copied = one_hot(axis.index, axis.old_size) if axis else None
            if copied is not None and dimension is not None and dimension.side != "out":
                copied = copied / copied.sum(0)  # each consumer of a copied unit has its share
            matrices.append(copied)
        made = combine(sources, None if layer is None else one_hot(layer_map, old)[layer], matrices)
        source = depth.source(parameter)
        assert made.shape == full_shape
        assert torch.allclose(made, maps.weight(source, weights[source]), rtol=1e-6, atol=1e-7), parameter


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("name", sorted(LAYER_MAPS))
def test_ligo_with_one_hot_layers_copies_them_to_the_bit(family: str, name: str) -> None:
    operator = between(LiGO, family, (3, 7), width=1)
    weights, layer_map = small_weights(operator), LAYER_MAPS[name](3, 7)
    depth = DepthMap(layer_map, f"model.{FAMILIES[family].blocks}", family)
    assert {key.split(".")[0] for key in operator.coefficient_shapes} == {"depth"}
    made = operator.weights(weights | dict.fromkeys(operator.coefficient_shapes, one_hot(layer_map, 3)))
    for parameter, weight in made.items():
        assert torch.equal(weight, weights[depth.source(parameter)]), parameter


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_ligo_with_tied_copies_selects_units_and_with_zeros_pads(family: str) -> None:
    operator = between(LiGO, family, (2, 2), width=2)
    maps = width_between(operator.old, operator.new, "tiled", seed=0)
    assert maps is not None
    weights, shapes = small_weights(operator), operator.coefficient_shapes
    assert {key.split(".")[0] for key in shapes} == {"width"}
    copied = operator.weights(weights | {key: torch.eye(*size) for key, size in shapes.items()})
    padded = operator.weights(weights | {key: torch.zeros(size) for key, size in shapes.items()})
    for name, weight in weights.items():
        assert torch.equal(copied[name], maps.select(name, weight)), name
        assert torch.equal(padded[name], torch.where(maps.is_new(name, copied[name]), 0.0, copied[name])), name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_mango_with_identity_cores_copies(family: str) -> None:
    operator = between(Mango, family, (2, 6), width=1)
    weights = small_weights(operator)
    sizes = operator.coefficient_shapes.items()
    cores = {name: one_hot(tuple(i % old for i in range(new)), old) for name, (new, old) in sizes}
    depth = DepthMap(LAYER_MAPS["stack"](2, 6), f"model.{FAMILIES[family].blocks}", family)
    for name, weight in operator.weights(weights | cores).items():
        assert torch.equal(weight, weights[depth.source(name)]), name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_mango_is_the_product_of_its_cores(family: str) -> None:
    """The definition, written out over the blocks of both models."""
    operator = between(Mango, family, (2, 3), width=2)
    generator = torch.Generator().manual_seed(1)
    cores = {name: torch.randn(size, generator=generator) for name, size in operator.coefficient_shapes.items()}
    weights = small_weights(operator)
    old = blocks_of(operator.old, 2, weights)
    new = blocks_of(operator.new, 3, operator.weights(weights | cores))
    factors = (cores["core.block"], cores["core.out"], cores["core.in"], cores["core.layer"])
    assert torch.allclose(new, torch.einsum("boil,Bb,Oo,Ii,Ll->BOIL", old, *factors), rtol=1e-4, atol=1e-4)


def blocks_of(model: ModelShape, layers: int, weights: dict[str, Tensor]) -> Tensor:
    """T of the paper: (block, out, in, layer), the blocks in the order of the model's parameters."""
    fused = model.family == "gpt2"
    modules = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    if not fused:
        modules = [f"attention.{module}" for module in ("self.query", "self.key", "self.value", "output.dense")]
        modules += ["intermediate.dense", "output.dense"]
    found = []
    for layer in range(layers):
        blocks: list[Tensor] = []
        for module in modules:
            matrix = weights[f"model.{FAMILIES[model.family].blocks}.{layer}.{module}.weight"]
            matrix = matrix.T if fused else matrix
            blocks += [cell for row in matrix.split(model.hidden_size) for cell in row.split(model.hidden_size, 1)]
        found.append(torch.stack(blocks))
    return torch.stack(found, -1)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("ffn", [4, 8])
def test_mango_begins_with_the_small_models_function_but_for_noise(
    family: str, ffn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Mango(shape(family, 2), 2, shape(family, 2, 2, ffn), 2)
    before = float(plain_small(operator)(*batch()).detach())
    noisy = float(learning_model(operator)(*batch()).detach())
    monkeypatch.setattr("apollo_ds.learned.mango._NOISE", 0.0)
    assert float(learning_model(operator)(*batch()).detach()) == pytest.approx(before, abs=1e-5)
    assert 1e-4 < abs(noisy - before) < 0.1


def plain_small(operator: LearnedOperator) -> PretrainingModel:
    model = build(operator.old, operator.old_layers, None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(small_weights(operator)[name])
    return model


# The learning model


def test_it_computes_what_the_plain_model_of_its_weights_does(operator: LearnedOperator) -> None:
    model = learning_model(operator)
    filled = plain(operator, model.large_weights())
    for order in (tuple(range(operator.new_layers)), (0, 0, 1)):
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
    """With old and new layers l, L; hidden sizes h, H; feed-forward sizes f, F; 16 kinds of parameter in a layer."""
    l, L, h, H, f, F = 2, 5, 8, 24, 16, 48  # noqa: E741
    ligo, mango = (between(kind, family, (l, L), width=3) for kind in OPERATORS)
    outside = 2 * (H - h) * h
    assert count(ligo) == outside + L * (3 * (H - h) * h + (F - f) * f) + 16 * L * l
    assert count(mango) == 2 * H * h + L * l + (4 + 2 * F // H) * (4 + 2 * f // h)


def count(operator: LearnedOperator) -> int:
    return sum(torch.Size(size).numel() for size in operator.coefficient_shapes.values())


def test_it_moves_to_another_format_with_its_network() -> None:
    model = learning_model(between(LiGO, "gpt2", (2, 4))).to(torch.bfloat16)
    weights = model.large_weights()
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert model(*batch()).isfinite()
    assert not model.eval().grown.training
    assert [name for name, _ in model.named_modules()] == [""]


# The growths into the learning stage and out of it


def test_growths_take_the_small_weights_in_and_the_large_ones_out(operator: LearnedOperator) -> None:
    before = Counters(adam_step=70, births=(0, 40), loss_scaler={"cur_scale": 8.0})
    small, model = small_weights(operator), LearnedGrowthModel(operator, seed=3)
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


# Cost and mistakes


def test_cost_of_learning_equals_the_counter(operator: LearnedOperator) -> None:
    model = learning_model(operator)
    model.grown.model.set_attn_implementation("eager")  # the counter does not see fused attention
    scored = scored_positions(operator.new, 16)
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
