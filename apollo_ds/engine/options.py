"""The options of an engine. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apollo_ds.engine.optimizers import Optimizer


@dataclass(frozen=True)
class EngineOptions:
    """How one rank trains."""

    seed: int
    """The seed of dropout."""
    micro_batch: int
    """Samples that the rank processes at once when all layers run."""
    accumulation_steps: int
    """The number of micro-batches of that size in a step."""
    optimizer: Optimizer
    weight_decay: float
    """The weight decay of matrices and embeddings. Vectors do not decay."""
    adam_betas: tuple[float, float]
    adam_epsilon: float
    precision: str
    """The number format that the model computes in: fp32, bf16 or fp16."""
    zero_stage: int
    deepspeed: Mapping[str, Any]
    """DeepSpeed's configuration, with every `auto` replaced by a value."""
    block_lr_factor: float = 1.0
    """The factor on the learning rate of parameters in layers, for the depth that the engine trains."""
    block_epsilon_factor: float = 1.0
    """The factor on `adam_epsilon` of parameters in layers."""

    @property
    def config(self) -> dict[str, Any]:
        """DeepSpeed's configuration, with the batch sizes."""
        return {
            **self.deepspeed,
            "train_micro_batch_size_per_gpu": self.micro_batch,
            "gradient_accumulation_steps": self.accumulation_steps,
        }
