"""What every model family promises. A new file in `models/families` is tested here without a change."""

import ast
import re
from collections.abc import Iterable
from dataclasses import replace
from pkgutil import iter_modules

import pytest
import torch
import torch.nn.functional as F
from families import VARIANTS, all_global, batch_of, plus_first, shape_of, small_map
from growths import depth_map, grown, logits, randomised
from project import PROJECT
from small_models import build
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.config.load import load_recipe
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.data.demo import default_text_folder
from apollo_ds.growth.depth_map import DepthMap
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models import families
from apollo_ds.models.axes import OUT
from apollo_ds.models.families import FAMILIES, PRESETS
from apollo_ds.models.family import Family
from apollo_ds.models.flops import parameters, trainable_parameters, training_flops
from apollo_ds.models.frozen import Frozen
from apollo_ds.models.layer_map import LayerMap
from apollo_ds.models.pretraining import PretrainingModel, frozen_names, skeleton

every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)


def shake(weights: Iterable[Tensor]) -> None:
    """Add noise to weights."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in weights:
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)


def loss(model: PretrainingModel, order: LayerMap) -> Tensor:
    model.run_in_order(order)
    return model(*batch_of(model.shape))


def count(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() for weight in weights)


def test_a_family_is_one_file_of_its_name() -> None:
    files = {module.name: f"{families.__name__}.{module.name}" for module in iter_modules(families.__path__)}
    assert {name: type(family).__module__ for name, family in FAMILIES.items()} == files


def test_no_other_module_names_a_family() -> None:
    names = {*FAMILIES, *PRESETS}
    imported = re.compile(rf"models\.families(\.| import .*\b)({'|'.join(FAMILIES)})\b")
    package = PROJECT / "apollo_ds"
    for path in package.rglob("*.py"):
        if path.parent == package / "models" / "families":
            continue
        source = path.read_text()
        strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
        assert not names & strings, path
        assert not imported.search(source), path


@every_family
def test_the_parts_are_where_the_family_says(family: Family) -> None:
    of = shape_of(family, 3)
    model = build(of, 3, seed=0).model
    assert type(model) is family.model_class()
    assert model.get_submodule(family.backbone) is model.base_model
    below = [weight for path in family.embeddings for weight in model.get_submodule(path).parameters()]
    is_tied = any(weight is model.get_submodule(family.decoder).weight for weight in below)
    assert is_tied == family.ties_head(of)
    assert count(below) == family.embedding_parameters(of)
    blocks, layer = model.get_submodule(family.blocks).children(), family.layer_parameters(of)
    missing = family.missing_in_first_layer(of)
    assert [count(block.parameters()) for block in blocks] == [layer - missing, layer, layer]
    assert bool(missing) == family.first_layer_is_unlike


@every_family
def test_only_a_masked_model_sees_what_comes_later(family: Family) -> None:
    model = randomised(build(shape_of(family, 2), 2, seed=0))
    ids = batch_of(model.shape)[0]
    later = ids.clone()
    later[:, -1] = 30 - later[:, -1]
    before, after = (logits(model, tokens)[:, 0] for tokens in (ids, later))
    assert torch.allclose(before, after) != family.is_masked


@every_family
def test_no_token_is_taken_for_padding(family: Family) -> None:
    model = randomised(build(shape_of(family, 2), 2, seed=0))
    decoder, words = model.model.get_submodule(family.decoder), model.model.get_input_embeddings().weight
    decoder.weight = nn.Parameter(decoder.weight.detach().clone())  # so that gradients come from look-ups alone
    for token in range(model.shape.vocab_size):
        words.grad = None
        ids = torch.tensor([[5, token, 7]])
        model(ids, torch.tensor([[2]]), torch.tensor([[9]])).backward()
        assert words.grad is not None and words.grad[token].any(), token
        with torch.no_grad():
            words[8] = words[token]
            assert torch.equal(logits(model, ids), logits(model, torch.tensor([[5, 8, 7]]))), token


@every_family
def test_the_dropout_and_the_spread_of_fresh_matrices_reach_the_model(family: Family) -> None:
    wide = shape_of(family, 1, hidden_size=128, intermediate_size=256, dropout=0.3, initializer_range=0.09)
    model = build(wide, 1, seed=0)
    dropped = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    dropped |= {module.attention_dropout for module in model.modules() if hasattr(module, "attention_dropout")}
    assert dropped - {0.0} == {0.3}
    matrices = {name: weight for name, weight in model.named_parameters() if weight.dim() == 2}
    for name, weight in matrices.items():
        spread, tolerance = float(weight.detach().std()) / wide.initializer_range, 4 / weight.numel() ** 0.5
        usual = {1.0}
        if family.is_residual_output(name):
            usual.add(2**-0.5)  # in some families, by the root of 2 x layers
        if family.name == "modernbert":  # so are its head and embeddings; numbers beyond two deviations are drawn again
            usual = {0.88, 0.88 * 2**-0.5}
        assert any(spread == pytest.approx(part, abs=tolerance) for part in usual), name


@every_family
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 0, 1, 1, 2, 2), (2, 0, 1, 0)], ids=str)
def test_shared_layers_are_the_unrolled_model_s(family: Family, order: LayerMap) -> None:
    if family.first_layer_is_unlike:
        order = (0, *(max(layer, 1) for layer in order[1:]))
    shared = randomised(build(shape_of(family, len(order)), 3, seed=0)).double()
    plain = family.model_class()(family.config(shape_of(family, len(order)))).eval().double()
    source = DepthMap(order, family.blocks, family.name).source
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.copy_(shared.model.get_parameter(source(name)))
    ids, positions, labels = batch_of(shared.shape)
    everywhere = plain(input_ids=ids, position_ids=family.position_ids(ids)).logits
    scored = everywhere.gather(1, positions[..., None].expand(-1, -1, shared.shape.vocab_size))
    expected = F.cross_entropy(scored.flatten(0, 1), labels.flatten())
    found = loss(shared, order)
    assert torch.allclose(found, expected, rtol=1e-12)
    (expected + found).backward()
    summed = {name: torch.zeros_like(weight) for name, weight in shared.model.named_parameters()}
    for name, weight in plain.named_parameters():
        summed[source(name)] += weight.grad
    for name, weight in shared.model.named_parameters():
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        assert torch.allclose(gradient, summed[name], rtol=1e-9, atol=1e-13), name


@every_family
def test_what_is_frozen_is_the_embeddings_and_the_bottom_layers(family: Family) -> None:
    model = randomised(build(shape_of(family, 4), 4, seed=0))
    model.freeze(Frozen((0, 1)))
    model.run_in_order((0, 1, 2, 3), first_trained=2)
    model(*batch_of(model.shape)).backward()
    is_frozen = frozen_names(model.shape, Frozen((0, 1)))
    for name, weight in model.named_parameters():
        has_gradient = weight.grad is not None and bool(weight.grad.any())
        assert weight.requires_grad == has_gradient == (not is_frozen(name)), name
    trained = count(weight for weight in model.parameters() if weight.requires_grad)
    assert trained == trainable_parameters(model.shape, 4, Frozen((0, 1)))


@every_family
@pytest.mark.parametrize(
    "frozen", [Frozen((0, 1, 3), head=True), Frozen((0, 2)), Frozen(head=True)], ids=["old", "some", "head"]
)
def test_what_is_frozen_lets_gradients_through(family: Family, frozen: Frozen) -> None:
    plain, model = (randomised(build(shape_of(family, 5), 5, seed=0)) for _ in range(2))
    model.freeze(frozen)
    for each, first in ((plain, 0), (model, frozen.below)):
        each.run_in_order((0, 1, 2, 3, 4), first_trained=first)
        each(*batch_of(each.shape)).backward()
    is_frozen, trained = frozen_names(model.shape, frozen), 0
    for (name, expected), found in zip(plain.named_parameters(), model.parameters(), strict=True):
        if is_frozen(name):
            assert found.grad is None and not found.requires_grad, name
        else:
            assert torch.equal(found.grad, expected.grad), name
            trained += found.numel()
    assert trained == trainable_parameters(model.shape, 5, frozen)


@every_family
@pytest.mark.parametrize(("old", "new"), [(1, 3), (2, 4), (3, 9)])
def test_interpolation_keeps_the_loss_to_the_bit_at_every_depth(family: Family, old: int, new: int) -> None:
    small = randomised(build(shape_of(family, plus_first(family, 12)), plus_first(family, old), seed=1))
    large, _ = grown(small, Growth(depth_map(family.name, small_map(family, "interpolate", old, new))), small.shape)
    with torch.no_grad():
        for depth in range(new, 13):
            before, after = (small_map(family, "interpolate", layers, depth) for layers in (old, new))
            assert torch.equal(loss(small, before), loss(large, after)), depth


@every_family
@pytest.mark.parametrize("layer_map", ["stack", "interpolate", "duplicate_middle"])
@pytest.mark.parametrize("kind", ["zero", "silent", "identity"])
def test_new_layers_that_add_nothing_keep_a_pre_norm_model(family: Family, kind: str, layer_map: str) -> None:
    if kind == "identity" and family.is_gated:
        pytest.skip("refused: it would never learn")
    small = randomised(
        build(shape_of(family, plus_first(family, 4), **all_global(family)), plus_first(family, 2), seed=1)
    )
    added = small_map(family, layer_map, 2, 4)
    how = depth_map(family.name, added, new_layers=kind, heads=small.shape.num_heads)
    large, _ = grown(small, Growth(how), small.shape)
    before, after = loss(small, tuple(range(small.unique_layers))), loss(large, tuple(range(len(added))))
    assert torch.equal(before, after) == family.is_pre_norm


@every_family
def test_without_its_residual_outputs_a_block_adds_nothing(family: Family) -> None:
    model = randomised(build(shape_of(family, 3), 3, seed=0))
    block = f"model.{family.blocks}.1."
    names = [name for name, _ in model.named_parameters() if name.startswith(block)]
    inner = [name for name in names if not family.is_normalisation(name)]
    outputs = [name for name in names if family.is_residual_output(name)]
    assert outputs == [name for name in inner if OUT in family.dimensions(name)]
    whole = loss(model, (0, 1, 2))
    with torch.no_grad():
        for name in outputs:
            model.get_parameter(name).zero_()
    silenced = loss(model, (0, 1, 2))
    assert not torch.equal(silenced, whole)
    shake(model.get_parameter(name) for name in inner if name not in outputs)
    assert torch.equal(loss(model, (0, 1, 2)), silenced)
    assert torch.equal(loss(model, (0, 2)), silenced) == family.is_pre_norm


@every_family
def test_normalisations_are_the_parameters_of_such_modules(family: Family) -> None:
    model = build(shape_of(family, 2), 2, seed=0)
    found = {name for name, _ in model.named_parameters() if family.is_normalisation(name)}
    modules = {path: module for path, module in model.named_modules() if type(module).__name__.endswith("Norm")}
    assert found == {f"{path}.{name}" for path, module in modules.items() for name, _ in module.named_parameters()}


@every_family
@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_training_operations_are_what_the_counter_counts(family: Family, frozen: int) -> None:
    of = shape_of(family, 6, width=4, inner=5, vocab_size=311, max_position_embeddings=32)
    model = build(of, 4, seed=0)
    model.model.set_attn_implementation("eager")  # the counter does not see fused attention
    below = Frozen(tuple(range(frozen)))
    model.freeze(below)
    samples = batch_of(of, family.scored_positions(32))
    for depth in (frozen + 1, 4, 6):
        order = tuple(min(position, 3) for position in range(depth))
        model.run_in_order(order, first_trained=frozen)
        with FlopCounterMode(display=False) as counter:
            model(*samples).backward()
        assert counter.get_total_flops() == training_flops(of, depth, 32, 3, frozen, below), depth


@every_family
@pytest.mark.parametrize(
    "frozen", [Frozen((0, 1, 3, 4), head=True), Frozen((0, 2)), Frozen((0, 1, 3)), Frozen(head=True)], ids=str
)
def test_operations_are_counted_where_gradients_pass_what_is_frozen(family: Family, frozen: Frozen) -> None:
    of = shape_of(family, 6, width=4, inner=5, vocab_size=311, max_position_embeddings=32)
    model = build(of, 6, seed=0)
    model.model.set_attn_implementation("eager")
    model.freeze(frozen)
    model.run_in_order(tuple(range(6)), first_trained=frozen.below)
    samples = batch_of(of, family.scored_positions(32))
    with FlopCounterMode(display=False) as counter:
        model(*samples).backward()
    assert counter.get_total_flops() == training_flops(of, 6, 32, 3, frozen.below, frozen)


@every_family
def test_parameters_of_a_built_model(family: Family) -> None:
    for layers in (0, 1, 3, 6):
        total = count(skeleton(shape_of(family, 6), layers).parameters())
        assert total == parameters(shape_of(family, 6), layers) == trainable_parameters(shape_of(family, 6), layers)


@every_family
def test_the_demo_recipe_needs_no_more_than_the_name(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    usual, recipe = (load_recipe(DEFAULT_RECIPE, words) for words in ([], [f"model.family={family.name}"]))
    own = {"family", "norm_epsilon"}
    assert recipe.model.model_dump().items() >= usual.model.model_dump(exclude=own).items()
    assert replace(recipe.schedule().stages[-1], shape=usual.model) == usual.schedule().stages[-1]
    assert default_text_folder(recipe.data, recipe.model).name == ("docs-wordpiece" if family.is_masked else "docs")
