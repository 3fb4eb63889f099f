"""Models: unmodified `transformers` classes whose list of blocks runs in the order of a layer map.

A new family is one `Family` in the table below, and its sizes in `model_shape.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
    RobertaPreLayerNormConfig,
    RobertaPreLayerNormForMaskedLM,
)
from transformers.initialization import no_init_weights

from apollo_ds.attention import ATTENTION
from apollo_ds.cross_entropy import summed_cross_entropy
from apollo_ds.layer_map import LayerMap
from apollo_ds.model_shape import ModelShape


class LayerView(nn.ModuleList):
    """A list of unique blocks that iterates in the order of a layer map, so a block may run several times.

    Indexing and `len` see the unique blocks; only iteration, which is how the models run them, follows the map.
    """

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__(blocks)
        self.order: LayerMap = tuple(range(len(blocks)))
        self.scales: tuple[float, ...] = ()
        self.first_trained = 0

    def __iter__(self) -> Iterator[nn.Module]:
        """The blocks as they run, with gradients from position `first_trained` on."""
        for position, index in enumerate(self.order):
            if position == self.first_trained > 0:
                torch.set_grad_enabled(True)
            block, scale = self[index], self.scales[position] if self.scales else 1.0
            yield block if scale == 1.0 else cast(nn.Module, _Scaled(block, scale))


class _Scaled:
    """A block whose change to the hidden states is multiplied: x + scale (block(x) - x)."""

    def __init__(self, block: nn.Module, scale: float) -> None:
        self.block = block
        self.scale = scale

    def __call__(self, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return torch.lerp(hidden, self.block(hidden, *arguments, **options), self.scale)


@dataclass(frozen=True)
class Family:
    """Where a model family keeps what the package needs."""

    model_class: type[PreTrainedModel]
    config: Callable[[ModelShape], PretrainedConfig]
    backbone: str
    blocks: str
    """Path of the block list; parameters are named `{blocks}.{index}.{rest}`."""
    embeddings: tuple[str, ...]
    """Paths of what is below the blocks."""
    transform: Callable[[Any, Tensor], Tensor]
    """What the head does to hidden states (..., hidden_size) before its last matrix, which makes them logits."""
    decoder: str
    """Path of that matrix, a linear layer."""


def _bert_config(shape: ModelShape) -> PretrainedConfig:
    return BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        initializer_range=shape.initializer_range,
    )


def _roberta_prelayernorm_config(shape: ModelShape) -> PretrainedConfig:
    return RobertaPreLayerNormConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings + 1,  # positions count from the padding token's 0
        pad_token_id=0,
        type_vocab_size=1,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        initializer_range=shape.initializer_range,
    )


def _gpt2_config(shape: ModelShape) -> PretrainedConfig:
    return GPT2Config(
        vocab_size=shape.vocab_size,
        n_embd=shape.hidden_size,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        n_inner=shape.intermediate_size,
        n_positions=shape.max_position_embeddings,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own in one kernel; "gelu_new" computes the same in eight
        bos_token_id=None,
        eos_token_id=None,
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
        initializer_range=shape.initializer_range,
    )


FAMILIES: dict[str, Family] = {
    "bert": Family(
        model_class=BertForMaskedLM,
        config=_bert_config,
        backbone="bert",
        blocks="bert.encoder.layer",
        embeddings=("bert.embeddings",),
        transform=lambda model, hidden: model.cls.predictions.transform(hidden),
        decoder="cls.predictions.decoder",
    ),
    "roberta_prelayernorm": Family(
        model_class=RobertaPreLayerNormForMaskedLM,
        config=_roberta_prelayernorm_config,
        backbone="roberta_prelayernorm",
        blocks="roberta_prelayernorm.encoder.layer",
        embeddings=("roberta_prelayernorm.embeddings",),
        transform=lambda model, hidden: model.lm_head.layer_norm(F.gelu(model.lm_head.dense(hidden))),
        decoder="lm_head.decoder",
    ),
    "gpt2": Family(
        model_class=GPT2LMHeadModel,
        config=_gpt2_config,
        backbone="transformer",
        blocks="transformer.h",
        embeddings=("transformer.wte", "transformer.wpe"),
        transform=lambda model, hidden: hidden,
        decoder="lm_head",
    ),
}


class PretrainingModel(nn.Module):
    """A language model and its pretraining loss.

    `forward(input_ids, positions, labels)` takes token ids (batch, seq_len), the positions to score
    (batch, scored) and their target ids (batch, scored), and returns the summed cross-entropy divided by
    batch * scored, in nats. Dividing by a fixed number makes the loss of a batch the mean of its parts' losses,
    however it is split; targets of -100 add nothing.
    """

    def __init__(self, shape: ModelShape, model: PreTrainedModel) -> None:
        super().__init__()
        self.shape = shape
        self.family = FAMILIES[shape.family]
        self.model = model
        parent, _, name = self.family.blocks.rpartition(".")
        blocks = cast(nn.ModuleList, model.get_submodule(self.family.blocks))
        setattr(model.get_submodule(parent), name, LayerView(list(blocks)))

    @property
    def unique_layers(self) -> int:
        """How many blocks there are, however often each runs."""
        return len(self.layers)

    @property
    def layers(self) -> LayerView:
        """The unique blocks."""
        return cast(LayerView, self.model.get_submodule(self.family.blocks))

    def freeze(self, layers: int) -> None:
        """Stop training the embeddings, so also the head's matrix that they are, and so many bottom layers."""
        embeddings = [self.model.get_submodule(path) for path in self.family.embeddings]
        for part in (*embeddings, *(self.layers[i] for i in range(layers))):
            part.requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Keep only the inputs of layers; the backward runs each layer's forward again, once for each time it ran."""
        self.model.activation_checkpointing_enable({"use_reentrant": False})

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile the layers one by one, so that whatever order they run in, nothing new is compiled."""
        for block in self.layers.children():
            block.compile(backend=backend)

    def average_tied_gradients(self) -> None:
        """Give a layer that runs several times in a forward the mean of its gradients there, not their sum."""
        layers = self.layers
        for index in range(len(layers)):
            for parameter in layers[index].parameters():
                parameter.register_hook(lambda gradient, index=index: gradient / layers.order.count(index))

    def run_in_order(self, layer_map: LayerMap, scales: tuple[float, ...] = (), first_trained: int = 0) -> None:
        """Make the next forward run these unique layers, in this order.

        `scales` multiplies what the block at each position adds; empty for 1. The embeddings and the positions below
        `first_trained` run without autograd.
        """
        layers = self.layers
        layers.order, layers.scales, layers.first_trained = layer_map, scales, first_trained

    def forward(self, input_ids: Tensor, positions: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        backbone = self.model.get_submodule(self.family.backbone)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.layers.first_trained == 0):
            hidden = backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        if positions.shape[1] < hidden.shape[1]:
            index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            hidden = hidden.gather(1, index)
        decoder = cast(nn.Linear, self.model.get_submodule(self.family.decoder))
        rows = self.family.transform(self.model, hidden).flatten(0, 1)
        return summed_cross_entropy(rows, decoder, labels.flatten()) / labels.numel()


def frozen_names(shape: ModelShape, layers: int) -> Callable[[str], bool]:
    """Whether `PretrainingModel.freeze(layers)` freezes the parameter of a name."""
    family = FAMILIES[shape.family]
    blocks = [f"{family.blocks}.{i}" for i in range(layers)]
    prefixes = tuple(f"model.{path}." for path in (*family.embeddings, *blocks))
    return lambda name: name.startswith(prefixes)


def build(shape: ModelShape, unique_layers: int, seed: int | None) -> PretrainingModel:
    """A freshly initialised model with so many unique blocks, the same for the same seed.

    Weights are drawn as for the full depth: GPT-2 scales its residual projections by the number of layers. Without a
    seed they are left as memory happens to be, for a model that is to be filled from a state.
    """
    family = FAMILIES[shape.family]
    config = family.config(shape.model_copy(update={"num_layers": unique_layers}))
    config._attn_implementation = ATTENTION
    with no_init_weights():
        model = family.model_class(config)
    config.num_hidden_layers = shape.num_layers
    if seed is None:
        model.tie_weights()
        return PretrainingModel(shape, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.init_weights()
    return PretrainingModel(shape, model)
