"""What an engine is told. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apollo_ds.engine.optimizers import Optimizer


@dataclass(frozen=True)
class EngineOptions:
    """How one rank trains."""

    seed: int
    """Of dropout."""
    micro_batch: int
    """Samples that the rank processes at once when all layers run."""
    accumulation_steps: int
    """Micro-batches of that size in a step."""
    optimizer: Optimizer
    weight_decay: float
    """Of matrices and embeddings; vectors do not decay."""
    adam_betas: tuple[float, float]
    adam_epsilon: float
    precision: str
    """fp32, bf16 or fp16: what the model computes in."""
    zero_stage: int
    deepspeed: Mapping[str, Any]
    """DeepSpeed's own configuration, with nothing in it left to the machine."""
    block_lr_factor: float = 1.0
    """What the learning rate is multiplied by for what lies in layers, at the depth that the engine trains."""
    block_epsilon_factor: float = 1.0
    """The same for `adam_epsilon`."""

    @property
    def config(self) -> dict[str, Any]:
        """DeepSpeed's own, with the sizes of batches."""
        return {
            **self.deepspeed,
            "train_micro_batch_size_per_gpu": self.micro_batch,
            "gradient_accumulation_steps": self.accumulation_steps,
        }
