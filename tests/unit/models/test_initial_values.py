"""Fresh weights are drawn one at a time, and are those that `transformers` gives a model that it makes whole."""

import weakref
from types import MethodType
from typing import Any

import pytest
import torch
import transformers
from growths import shape
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.family import Family
from apollo_ds.models.initial_values import initial_values, without_weights
from apollo_ds.models.pretraining import build, skeleton

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


def made_whole(family: Family, depth: int, layers: int, seed: int) -> PreTrainedModel:
    """What `transformers` itself makes, scaled for a depth."""
    config = family.config(shape(family.name, max(1, layers)))
    config.num_hidden_layers = layers
    with no_init_weights():
        model = family.model_class()(config)
    config.num_hidden_layers = depth
    torch.manual_seed(seed)
    model.init_weights()
    return model


def empty(family: Family, depth: int, layers: int) -> PreTrainedModel:
    return without_weights(family.model_class(), family.config(shape(family.name, depth)), layers)


@every_family
@pytest.mark.parametrize("layers", [0, 1, 3, 6])
def test_they_are_to_the_bit_those_of_transformers(family: Family, layers: int) -> None:
    whole = made_whole(family, 6, layers, seed=3)
    state = torch.random.get_rng_state()
    drawn = dict(initial_values(empty(family, 6, layers), seed=3))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert drawn.keys() == {name for name, _ in whole.named_parameters()}
    for name, value in whole.named_parameters():
        assert torch.equal(drawn[name], value), name


@every_family
def test_buffers_and_ties_are_those_of_transformers(family: Family) -> None:
    whole, model = made_whole(family, 2, 2, seed=1), skeleton(shape(family.name, 2), 2).model
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in whole.named_parameters()]
    made, filled = dict(whole.named_buffers()), dict(model.named_buffers())
    assert made.keys() == filled.keys()
    for name, buffer in made.items():
        assert torch.equal(filled[name], buffer)
        assert filled[name].dtype == buffer.dtype


@every_family
def test_no_more_than_a_block_is_there_at_a_time(family: Family) -> None:
    model = empty(family, 4, 4)
    blocks = model.get_submodule(family.blocks)
    most = max(
        sum(parameter.numel() for parameter in blocks[0].parameters()),
        *(parameter.numel() for parameter in model.parameters()),
    )
    for _, value in initial_values(model, seed=0):
        there = sum(parameter.numel() for parameter in model.parameters() if parameter.device.type != "meta")
        assert there + value.numel() <= most
    assert all(parameter.device.type == "meta" for parameter in model.parameters())


@every_family
def test_a_value_is_gone_when_the_next_is_drawn(family: Family) -> None:
    before: weakref.ref[Tensor] | None = None
    for _, value in skeleton(shape(family.name, 2), 2).initial_values(seed=0):
        assert before is None or before() is None
        before = weakref.ref(value)
        del value


@every_family
def test_a_skeleton_takes_no_memory_until_it_is_given_some(family: Family) -> None:
    model = skeleton(shape(family.name, 2), 2)
    assert sum(parameter.untyped_storage().nbytes() for parameter in model.parameters()) <= 4 * 60
    assert all(
        parameter.untyped_storage().nbytes() >= 4 * parameter.numel()
        for parameter in build(model.shape, 2, torch.device("cpu")).parameters()
    )


def leaves_out(model: PreTrainedModel, kind: type[nn.Module]) -> None:
    """Let a model's class say nothing of modules of one kind."""
    known = model._init_weights

    def init(self: PreTrainedModel, module: nn.Module) -> Any:
        return None if isinstance(module, kind) else known(module)

    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module._init_weights = MethodType(init, module)  # type: ignore[method-assign]


def test_a_parameter_that_a_class_does_not_draw_is_an_error() -> None:
    model = empty(FAMILIES["bert"], 2, 2)
    leaves_out(model, nn.Embedding)
    with pytest.raises(RuntimeError, match=r"not say how its bert\.embeddings\.word_embeddings\.weight is drawn"):
        next(iter(initial_values(model, seed=0)))


def test_a_buffer_that_a_class_does_not_fill_is_an_error() -> None:
    class Forgetful(FAMILIES["bert"].model_class()):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.register_buffer("forgotten", torch.ones(2), persistent=False)

    with pytest.raises(RuntimeError, match="Forgetful does not say what its buffer forgotten holds"):
        without_weights(Forgetful, FAMILIES["bert"].config(shape("bert", 1)), 1)


def test_values_are_new_each_time() -> None:
    model = empty(FAMILIES["gpt2"], 2, 2)
    first: dict[str, Tensor] = dict(initial_values(model, seed=0))
    again = dict(initial_values(model, seed=0))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(first[name].data_ptr() == again[name].data_ptr() for name in first)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        # Modules are drawn by those around them, by a function that does nothing on the meta device.
        (transformers.ModernBertForMaskedLM, transformers.ModernBertConfig(pad_token_id=0)),
        # A buffer of frequencies, in fp32, that is computed.
        (transformers.LlamaForCausalLM, transformers.LlamaConfig(tie_word_embeddings=True)),
        (transformers.Qwen3ForCausalLM, transformers.Qwen3Config(head_dim=8, num_key_value_heads=1)),
    ],
)
def test_so_are_those_of_classes_with_other_ways(kind: type[PreTrainedModel], config: PreTrainedConfig) -> None:
    for key, value in {"vocab_size": 31, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}.items():
        setattr(config, key, value)
    config.num_hidden_layers = 3
    if hasattr(config, "layer_types"):
        config.layer_types = config.layer_types[:3]
    with no_init_weights():
        whole = kind(config)
    torch.manual_seed(3)
    whole.init_weights()
    model = without_weights(kind, config, 3)
    drawn = dict(initial_values(model, seed=3))
    assert drawn.keys() == {name for name, _ in whole.named_parameters()}
    assert all(torch.equal(drawn[name], value) for name, value in whole.named_parameters())
    filled = dict(model.named_buffers())
    assert all(torch.equal(filled[name], buffer) for name, buffer in whole.named_buffers())
