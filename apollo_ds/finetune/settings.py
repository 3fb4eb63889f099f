"""The settings of fine-tuning. All results in a folder have the same ones."""

from dataclasses import asdict, dataclass
from typing import Any

from apollo_ds.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Everything that changes a result, except the learning rate and the seed."""

    task: str
    model: str
    """A hash of the model."""
    data: str
    """A hash of the task's files."""
    epochs: int
    batch_size: int
    max_length: int
    max_train_samples: int | None
    precision: str
    warmup: float = 0.06
    """The fraction of the steps in which the learning rate rises linearly. Then it falls linearly to 0."""
    weight_decay: float = 0.01
    """AdamW's weight decay of matrices. Vectors, which are biases and gains, have none."""
    clipping: float = 1.0
    """Gradients are clipped to this norm."""

    def check(self, before: dict[str, Any], path: str) -> None:
        """Compare with the settings of earlier results.

        Raises:
            UserError: a setting differs. The message names it and the ways out.
        """
        now = asdict(self)
        for key in now:
            if before.get(key) != now[key]:
                told = _IN_WORDS.get(key, f"{key} {before.get(key)}, not {now[key]}")
                raise UserError(f"{path}: was made with {told}; use the same, or another folder with --out")


_IN_WORDS = {
    "model": "another model, or with another checkpoint of it",
    "data": "other files of the task",
}
