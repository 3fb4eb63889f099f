"""A `transformers` model with its pretraining loss: the blocks run in the order of a layer map."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from apollo_ds.models.attention import ATTENTION
from apollo_ds.models.depth_scale import has_scales, scales_at
from apollo_ds.models.families import family_of
from apollo_ds.models.frozen import Frozen
from apollo_ds.models.initial_values import initial_values, without_weights
from apollo_ds.models.layer_map import LayerMap
from apollo_ds.models.layer_view import LayerView
from apollo_ds.models.loss import summed_cross_entropy
from apollo_ds.models.low_rank import LowRank, fresh_factors
from apollo_ds.models.masks import Mask, attention_mask, takes_blocks
from apollo_ds.models.sample_parts import SampleParts
from apollo_ds.models.scale_hooks import ScaleHooks
from apollo_ds.models.shape import ModelShape

Batch = tuple[Tensor, ...]
"""input_ids (batch, seq_len), positions (batch, scored), labels (batch, scored) and, where documents do not see each
other, places (batch, seq_len): what `PretrainingModel` takes."""


class PretrainingModel(nn.Module):
    """A language model and its pretraining loss.

    `forward(input_ids, positions, labels, places)` takes token ids (batch, seq_len), the positions to score
    (batch, scored) and their target ids (batch, scored), and returns the summed cross-entropy divided by
    batch * scored, in nats. Dividing by a fixed number makes the loss of a batch the mean of its parts' losses,
    however it is split; targets of -100 add nothing. Where ranks share samples, it is this rank's part of that loss
    times their number, so that the mean over the ranks is the batch's.

    With `places` (batch, seq_len), the place of each token in its document, from 0, a token sees its own document
    alone, and positions count from each document's start.

    Without labels it returns the logits at these positions (batch, scored, vocab_size), of whole samples.
    """

    def __init__(self, shape: ModelShape, model: PreTrainedModel) -> None:
        super().__init__()
        self.shape = shape
        self.family = family_of(shape)
        self.model = model
        self._is_compiled = False
        self._rank: int | None = None
        self._parts: SampleParts | None = None
        parent, _, name = self.family.blocks.rpartition(".")
        blocks = cast(nn.ModuleList, model.get_submodule(self.family.blocks))
        view = LayerView(list(blocks), self.family.attention_types(shape))
        setattr(model.get_submodule(parent), name, view)
        if has_scales(shape):
            self.scale_branches()

    def scale_branches(self) -> None:
        """Let `run_in_order` scale what blocks add and read; a model whose shape has scales does so from the start."""
        if self.layers.hooks is None:
            self.layers.hooks = ScaleHooks(self.family, self.model, self.shape.layernorm_scale)
            self.run_in_order(self.layers.order)

    def initial_values(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Each parameter's name and its fresh value, whole, in fp32 on the CPU; the same for the same seed.

        They are drawn as for the full depth: GPT-2 scales its residual projections by the number of layers. Where a
        residual scale does that in the forward, they are as large as other matrices.
        """
        by_depth = self.family.draws_residual_outputs_by_depth and self.shape.residual_scale != "none"
        for own, value in initial_values(_without_weights(self.shape, self.unique_layers), seed):
            name = f"model.{own}"
            if by_depth and self.family.is_residual_output(own):
                value.mul_(sqrt(2 * self.shape.num_layers))
            if self._rank is not None and self.family.is_feed_forward_matrix(name):
                yield from fresh_factors(name, value, self._rank, seed)
            else:
                yield name, value
            del value  # so that it is gone when the next is drawn

    @property
    def unique_layers(self) -> int:
        """How many blocks there are, however often each runs."""
        return len(self.layers)

    @property
    def layers(self) -> LayerView:
        """The unique blocks."""
        return cast(LayerView, self.model.get_submodule(self.family.blocks))

    def freeze(self, frozen: Frozen) -> None:
        """Stop the training of the parameters that `frozen` names."""
        is_frozen = frozen_names(self.shape, frozen)
        for name, parameter in self.named_parameters():
            if is_frozen(name):
                parameter.requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Keep only the inputs of layers; the backward runs each layer's forward again, once for each time it ran."""
        self.model.activation_checkpointing_enable({"use_reentrant": False})
        if self.layers.hooks:
            self.layers.hooks.survive_recomputation(self.layers.children())

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile the loss and each layer by itself, so that another order of layers needs no new compilation."""
        self._is_compiled = True
        for block in self.layers.children():
            block.compile(backend=backend)

    def factorise_feed_forward(self, rank: int) -> None:
        """Hold each feed-forward matrix as two factors of this rank; see `models.low_rank`."""
        self._rank = rank
        if hooks := self.layers.hooks:
            hooks.remove()  # some are on layers that others take the place of
            self.layers.hooks = None
        for name, weight in list(self.named_parameters()):
            if self.family.is_feed_forward_matrix(name):
                parent, _, own = name.removesuffix(".weight").rpartition(".")
                layer = self.get_submodule(f"{parent}.{own}")
                rows, columns = weight.shape
                left, right = without_memory((rows, rank)), without_memory((rank, columns))
                is_transposed = not isinstance(layer, nn.Linear)
                setattr(
                    self.get_submodule(parent),
                    own,
                    LowRank(left, right, cast(nn.Parameter | None, layer.bias), is_transposed),
                )
        if hooks:
            self.scale_branches()

    def pool_tokens(self, pool: int) -> None:
        """Let the layers run on the means of so many neighbouring tokens; see `models.pooling`.

        The number must divide the tokens of each sample, or of this rank's part of it. Documents are not kept apart.
        """
        self.layers.pool = pool

    def share_samples(self, parts: SampleParts | None) -> None:
        """Compute this rank's part of each sample; None for whole samples. `forward` takes whole samples all the same.

        All ranks of the group must be given the same samples, and run the same layers.
        """
        self._parts = parts
        for module in self.layers.modules():
            module.sample_parts = parts  # type: ignore[assignment]

    def average_tied_gradients(self) -> None:
        """Give a layer that runs several times in a forward the mean of its gradients there, not their sum."""
        layers = self.layers
        for index in range(len(layers)):
            for parameter in layers[index].parameters():
                parameter.register_hook(lambda gradient, index=index: gradient / layers.order.count(index))

    def run_in_order(
        self,
        layer_map: LayerMap,
        scales: tuple[float, ...] = (),
        first_trained: int = 0,
        positions: tuple[int, ...] = (),
        drawn_depth: int | None = None,
        risen: tuple[float, ...] = (),
    ) -> None:
        """Make the next forward run these unique layers, in this order.

        `scales` are factors of the layers' outputs; empty if all are 1. The embeddings and the first `first_trained`
        layers run without autograd. `positions` are the layers' positions in the network; empty if none is skipped.

        `drawn_depth` is the number of positions of the network, including those that are skipped; without it, it is the
        number of layers that run. The scale of the model's shape at that depth multiplies each branch. So does `risen`,
        from 0 to 1; empty if all are 1.
        """
        layers = self.layers
        layers.order, layers.scales, layers.first_trained, layers.positions = (
            layer_map,
            scales,
            first_trained,
            positions,
        )
        places = positions or tuple(range(len(layer_map)))
        layers.position_scales = scales_at(self.shape, drawn_depth or len(layer_map), places, risen)
        assert layers.hooks or not risen, "what rises has to be hooked: scale_branches"

    def forward(
        self, input_ids: Tensor, positions: Tensor, labels: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """The loss, or the logits where no labels are given; the class explains shapes."""
        parts, tokens = self._parts, input_ids.shape[1]
        backbone = self.model.get_submodule(self.family.backbone)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.layers.first_trained == 0):
            mask = self.mask(input_ids, places)  # of whole samples, which attention sees
            counted = self.family.position_ids(input_ids, places)
            if parts is not None:
                counted = torch.arange(tokens, device=input_ids.device)[None] if counted is None else counted
                input_ids, counted = parts.own(input_ids), parts.own(counted)
            hidden = backbone(
                input_ids=input_ids, attention_mask=mask, position_ids=counted, use_cache=False
            ).last_hidden_state
        decoder = cast(nn.Linear, self.model.get_submodule(self.family.decoder))
        if labels is None:
            assert parts is None, "logits are of whole samples: share_samples(None)"
            rows = self.family.transform(self.model, _at(positions, hidden))
            return F.linear(rows, decoder.weight, decoder.bias)
        own_labels = labels
        if positions.shape[1] == tokens:
            own_labels = labels if parts is None else parts.own(labels)
        elif parts is None:
            hidden = _at(positions, hidden)
        else:
            hidden, own_labels = parts.gather_scored(hidden, positions, labels)
        rows = self.family.transform(self.model, hidden).flatten(0, 1)
        loss = summed_cross_entropy(rows, decoder, own_labels.flatten(), self._is_compiled) / labels.numel()
        return loss if parts is None else loss * parts.degree

    def mask(self, input_ids: Tensor, places: Tensor | None) -> Mask | Mapping[str, Mask | None] | None:
        """Return the mask that attention takes for whole samples, or one for each kind of attention in a family.

        With pooled tokens, a window covers the same length of text, rounded up.
        """
        in_blocks = takes_blocks(input_ids.device, self.shape.dropout, self.shape.head_size)
        pool = self.layers.pool
        tokens = input_ids[:, ::pool]
        make = partial(attention_mask, tokens, places, is_causal=not self.family.is_masked, in_blocks=in_blocks)
        windows = self.family.attention_windows(self.shape)
        pooled = {kind: window and -(-window // pool) for kind, window in windows.items()}
        return {kind: make(window=window) for kind, window in pooled.items()} if windows else make()


def _at(positions: Tensor, hidden: Tensor) -> Tensor:
    """The hidden states (batch, scored, hidden size) at positions (batch, scored)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def frozen_names(shape: ModelShape, frozen: Frozen) -> Callable[[str], bool]:
    """Return a function that says by name whether `PretrainingModel.freeze` freezes a parameter.

    A matrix that is tied to the embedding has the embedding's name.
    """
    family = family_of(shape)
    layers = tuple(f"model.{family.blocks}.{i}." for i in frozen.layers)
    embeddings = tuple(f"model.{path}." for path in family.embeddings)
    not_head = (f"model.{family.blocks}.", *embeddings)
    prefixes = (*layers, *embeddings) if layers else ()
    return lambda name: name.startswith(prefixes) or (frozen.head and not name.startswith(not_head))


def without_memory(shape: tuple[int, ...], trains: bool = True) -> nn.Parameter:
    """Make a parameter with a shape but no memory. Its `data` can be set to a tensor of any device and precision."""
    return nn.Parameter(torch.empty(()).expand(shape), trains)


def skeleton(shape: ModelShape, unique_layers: int) -> PretrainingModel:
    """Make a model of `unique_layers` blocks. Its parameters take no memory (`without_memory`), its buffers do."""
    model = _without_weights(shape, unique_layers)
    model.tie_weights()
    own: dict[Tensor, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = own.setdefault(parameter, without_memory(tuple(parameter.shape)))
    return PretrainingModel(shape, model)


def build(shape: ModelShape, unique_layers: int, device: torch.device) -> PretrainingModel:
    """Make the same model on a device, with memory for its whole weights in fp32. The caller must fill them."""
    model = skeleton(shape, unique_layers)
    for parameter in model.parameters():
        parameter.data = torch.empty(parameter.shape, device=device)
    return model.to(device)  # the buffers


def _without_weights(shape: ModelShape, unique_layers: int) -> PreTrainedModel:
    family = family_of(shape)
    config = family.config(shape)
    config._attn_implementation = ATTENTION
    return without_weights(family.model_class(), config, unique_layers)
