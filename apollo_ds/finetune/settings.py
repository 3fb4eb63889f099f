"""What a folder of results was made with, which must not change within it."""

from dataclasses import asdict, dataclass
from typing import Any

from apollo_ds.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Everything that changes a result but the learning rate and the seed."""

    task: str
    model: str
    """A hash of it."""
    data: str
    """A hash of the files."""
    epochs: int
    batch_size: int
    max_length: int
    max_train_samples: int | None
    precision: str
    warmup: float = 0.06
    """The part of the steps in which the learning rate rises; in the others it falls to 0, both linearly."""
    weight_decay: float = 0.01
    """AdamW's, of matrices; vectors, which are biases and gains, have none."""
    clipping: float = 1.0
    """The greatest norm of the gradient."""

    def check(self, before: dict[str, Any], path: str) -> None:
        """Compare with those of earlier results.

        Raises:
            UserError: they differ; names what does, and the ways out.
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
