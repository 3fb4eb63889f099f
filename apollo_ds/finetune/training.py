"""Fine-tune a model once: a plain loop on one device. The same seed gives the same result."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedModel, get_linear_schedule_with_warmup

from apollo_ds.finetune.features import Feature
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.finetune.problem import Problem, Scores
from apollo_ds.finetune.settings import Settings


@dataclass(frozen=True)
class Epoch:
    """The results of one pass over the training examples."""

    epoch: int
    """The number of the pass, counted from 1."""
    loss: float
    """The mean training loss over the pass."""
    metrics: Scores
    """The metrics of the held-out examples after the pass."""


@dataclass(frozen=True)
class Device:
    """The device to compute on, and the precision. Weights are in fp32."""

    name: str
    bf16: bool

    @classmethod
    def prepare(cls) -> "Device":
        """Choose the first GPU, in bf16 if it can, or else the CPU in fp32. It also makes torch deterministic."""
        if not torch.cuda.is_available():
            return cls("cpu", bf16=False)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Fused attention adds up gradients in an order that differs from run to run.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        return cls("cuda", bf16=torch.cuda.is_bf16_supported(including_emulation=False))

    @property
    def precision(self) -> str:
        """Its name."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> torch.autocast:
        """The context to run the model in."""
        return torch.autocast(self.name, dtype=torch.bfloat16, enabled=self.bf16)


class FineTuning:
    """A model, with the settings that all its trainings have in common."""

    def __init__(self, pretrained: Pretrained, settings: Settings, device: Device, console: Console) -> None:
        self.pretrained = pretrained
        self.settings = settings
        self.device = device
        self.console = console
        self._collate = DataCollatorWithPadding(pretrained.tokenizer)

    def run(self, problem: Problem, learning_rate: float, seed: int) -> Iterator[Epoch]:
        """Train once, and yield each epoch when it has been evaluated.

        The seed decides the weights of the head, the dropout and the order of the examples.

        Raises:
            UserError: the model cannot be loaded.
        """
        model = self.pretrained.build(problem.auto_class, problem.config, seed)
        model.to(torch.device(self.device.name))  # type: ignore[arg-type]  # a decorator of torch hides the signature
        batches: DataLoader[Feature] = DataLoader(
            problem.train,  # type: ignore[arg-type]  # a list is enough
            self.settings.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(seed),
            collate_fn=self._batch,
        )
        optimizer = _optimizer(model, learning_rate, self.settings.weight_decay)
        steps = self.settings.epochs * len(batches)
        schedule = get_linear_schedule_with_warmup(optimizer, round(self.settings.warmup * steps), steps)
        for epoch in range(1, self.settings.epochs + 1):
            title = f"seed {seed}, epoch {epoch} of {self.settings.epochs}"
            loss = self._train(model, batches, optimizer, schedule, title)
            yield Epoch(epoch, loss, self.evaluate(model, problem))

    def _train(
        self, model: PreTrainedModel, batches: Any, optimizer: Optimizer, schedule: LRScheduler, title: str
    ) -> float:
        model.train()
        total = torch.zeros((), device=self.device.name)
        hidden = not self.console.is_terminal
        for batch in track(batches, title, console=self.console, transient=True, disable=hidden):
            with self.device.autocast():
                loss = model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), self.settings.clipping)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            total += loss.detach() * len(batch["input_ids"])
        return float(total) / len(batches.dataset)

    def evaluate(self, model: PreTrainedModel, problem: Problem) -> Scores:
        """The metrics of all held-out examples."""
        found: Scores = {}
        for held_out in problem.held_out:
            found |= held_out.score(self.predict(model, problem, held_out.features))
        return found

    @torch.no_grad()
    def predict(self, model: PreTrainedModel, problem: Problem, features: Sequence[Feature]) -> Sequence[Tensor]:
        """The outputs for each feature, on the CPU. Features of similar length are computed together."""
        model.eval()
        by_length = sorted(range(len(features)), key=lambda place: len(features[place]["input_ids"]))
        rows: dict[int, Tensor] = {}
        size = self.settings.batch_size
        for start in range(0, len(features), size):
            places = by_length[start : start + size]
            batch = self._batch([features[place] for place in places])
            with self.device.autocast():
                outputs = problem.outputs(model(**batch))
            rows |= zip(places, outputs.float().cpu(), strict=True)
        return [rows[place] for place in range(len(features))]

    def _batch(self, features: list[Feature]) -> Any:
        batch: Any = self._collate(features)
        return batch.to(self.device.name)


def _optimizer(model: PreTrainedModel, learning_rate: float, weight_decay: float) -> Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate)
