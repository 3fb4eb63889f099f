"""Learned growth operators: what they equal when their coefficients are set so."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operators import FAMILY_NAMES, OPERATORS, between, shape, small_weights
from torch import Tensor

from apollo_ds.growth.depth_and_width import width_between
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.learned.ligo import LiGO
from apollo_ds.growth.learned.mango import Mango
from apollo_ds.growth.learned.operator import LearnedOperator, combine
from apollo_ds.growth.width_map import WidthMap
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.layer_map import LAYER_MAPS
from apollo_ds.models.shape import ModelShape

GROWTHS = {"both": ((2, 4), 2), "uneven": ((2, 5), 3), "depth": ((2, 4), 1), "width": ((2, 2), 2)}


@pytest.fixture(
    params=[(kind, family, growth) for kind in OPERATORS for family in FAMILY_NAMES for growth in GROWTHS],
    ids=lambda param: f"{param[0].__name__}-{param[1]}-{param[2]}",
)
def operator(request: Any) -> LearnedOperator:
    kind, family, growth = request.param
    return between(kind, family, *GROWTHS[growth])


def one_hot(index: tuple[int, ...], old_size: int) -> Tensor:
    return torch.eye(old_size)[list(index)]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("how", ["net2net", "tiled"])
@settings(max_examples=10)
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
        for dimension in FAMILIES[family].dimensions(parameter):
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


@pytest.mark.parametrize("family", ["bert", "gpt2", "roberta_prelayernorm"])
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
