"""Whole training loops that are timed against each other, on the same batches and, where there are any, tricks."""

import os
import tempfile
from collections.abc import Iterator
from itertools import cycle
from typing import Any, cast
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from transformers import Trainer as TransformersTrainer

from apollo_ds.engine.engine import Engine
from apollo_ds.engine.malloc import keep_freed_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.models.families import family_of
from apollo_ds.models.loss import IGNORED
from apollo_ds.models.pretraining import Batch
from apollo_ds.training.run import train
from speed.bare_steps import on_device
from speed.pacing import Gate
from speed.settings import Setting, recipe_of, source_of

_BATCHES = 16
"""Different batches that the loops without a data pipeline of their own go round."""


def ours(pace: Gate, processes: Processes, setting: Setting, **changes: Any) -> None:
    """This package as `deepspeed launch/pretrain.sh` runs it: data, metrics and all."""
    train_step = Engine.train_step

    def paced(self: Engine, *how: Any, **options: Any) -> Any:
        pace.gate()
        result = train_step(self, *how, **options)
        pace.step_ended()
        return result

    with patch.object(Engine, "train_step", paced):
        train(recipe_of(setting, processes, **changes), processes)


def stock(pace: Gate, processes: Processes, setting: Setting, layers: int, dropout: float) -> None:
    """`transformers.Trainer` with its own model, defaults, and every position's logits."""

    class AtTheGate(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            pace.gate()

    model = _stock_model(setting, layers, dropout)
    samples = list(_whole_samples(_batches(setting, processes), family_of(setting.shape).is_masked))
    del os.environ["LOCAL_RANK"]  # with it, accelerate would take this process for one of several
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="apollo-ds-throughput-"),
        max_steps=1_000_000,
        per_device_train_batch_size=setting.samples,
        bf16=processes.computes_bf16,
        use_cpu=processes.device.type == "cpu",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    TransformersTrainer(model, arguments, train_dataset=samples, callbacks=[AtTheGate()]).train()


def by_hand(pace: Gate, processes: Processes, setting: Setting, layers: int) -> None:
    """A plain loop over the stock model with the tricks that are known: only scored positions reach the head, logits
    a chunk at a time, no dropout, fused AdamW, batches on the device already, and on a CPU memory that is kept."""
    device = processes.device
    if device.type == "cpu":
        keep_freed_memory()
    model = _stock_model(setting, layers, dropout=0.0)
    model.to(device)  # type: ignore[arg-type]  # its decorator hides the signature
    family = family_of(setting.shape)
    decoder = cast(torch.nn.Linear, model.get_submodule(family.decoder))
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    batches = on_device(_batches(setting, processes), processes)
    for ids, positions, labels in cycle(batches):
        pace.gate()
        with torch.autocast(device.type, torch.bfloat16, enabled=processes.computes_bf16):
            hidden = model.get_submodule(family.backbone)(input_ids=ids, use_cache=False).last_hidden_state
            if family.is_masked:
                hidden = hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
            hidden = family.transform(model, hidden).flatten(0, 1)
            if processes.computes_bf16:
                hidden = hidden.bfloat16()  # autocast leaves a norm's in fp32, and with it the head's product
            loss = _cross_entropy(hidden, decoder, labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()


def _cross_entropy(hidden: Tensor, decoder: torch.nn.Linear, labels: Tensor) -> Tensor:
    """At once where there are few rows, which is faster, and in chunks where there are many.

    In half precision `linear_cross_entropy` would add the losses up in it, so chunks are computed again instead.
    """
    rows = 8192 if hidden.is_cuda else 512
    if len(hidden) <= rows:
        return F.cross_entropy(decoder(hidden).float(), labels)
    if hidden.dtype == torch.float32:
        chunks = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows, chunking_method=None)
        return F.linear_cross_entropy(hidden, decoder.weight, labels, linear_bias=decoder.bias, options=chunks)

    def summed(part: Tensor, expected: Tensor) -> Tensor:
        return F.cross_entropy(decoder(part).float(), expected, reduction="sum")

    parts = zip(hidden.split(rows), labels.split(rows), strict=True)
    losses = [checkpoint(summed, part, expected, use_reentrant=False) for part, expected in parts]
    return torch.stack(losses).sum() / (labels != IGNORED).sum()


def _stock_model(setting: Setting, layers: int, dropout: float) -> PreTrainedModel:
    shape = setting.shape.model_copy(update={"num_layers": layers, "dropout": dropout})
    family = family_of(shape)
    return family.model_class()(family.exported_config(shape, pad=0))


def _batches(setting: Setting, processes: Processes) -> list[Batch]:
    """The first batches of this package's own data pipeline."""
    recipe = recipe_of(setting, processes)
    source, plans = source_of(recipe), map(recipe.schedule().at, range(_BATCHES))
    return [
        batch
        for plan in plans
        for batch in source.micro_batches(plan.first_token, plan.seq_len, setting.samples, setting.samples, 0, 1)
    ]


def _whole_samples(batches: list[Batch], masked: bool) -> Iterator[dict[str, Tensor]]:
    """Samples as the stock model takes them: a label at every position. A model of running text shifts them itself."""
    for ids, positions, labels in batches:
        whole = torch.full_like(ids, IGNORED).scatter(1, positions, labels)
        targets = whole if masked else ids
        yield from ({"input_ids": one, "labels": other} for one, other in zip(ids, targets, strict=True))
