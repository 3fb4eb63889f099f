"""What an engine is told. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EngineOptions:
    """How one rank trains."""

    seed: int
    """Of dropout."""
    micro_batch: int
    """Samples that the rank processes at once when all layers run."""
    accumulation_steps: int
    """Micro-batches of that size in a step."""
    weight_decay: float
    """Of matrices and embeddings; vectors do not decay."""
    adam_betas: tuple[float, float]
    adam_epsilon: float
    deepspeed: Mapping[str, Any]
    """DeepSpeed's own configuration, with nothing in it left to the machine."""
