"""The options of the command."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from apollo_ds.errors import UserError
from apollo_ds.rng import LARGEST_SEED

_SHORTEST = 16


@dataclass(frozen=True)
class Options:
    """The options of `apollo-ds finetune`. The fields have the options' names.

    Raises:
        UserError: a number is out of range. The message names the option.
    """

    model: str
    task: str
    data: Path
    seeds: list[int]
    learning_rate: list[float]
    epochs: int
    batch_size: int
    max_length: int | None
    max_train_samples: int | None
    out: Path | None
    json: bool

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "batch_size", "max_length", "max_train_samples"):
            value = getattr(self, name)
            least = _SHORTEST if name == "max_length" else 1
            for number in value if isinstance(value, list) else [value]:
                if number is not None and number < least:
                    raise UserError(f"{_option(name)}: must be at least {least}, not {number}")
        if max(self.seeds) > LARGEST_SEED:
            raise UserError(f"{_option('seeds')}: must be at most {LARGEST_SEED}, not {max(self.seeds)}")
        for rate in self.learning_rate:
            if not (isfinite(rate) and rate > 0):
                raise UserError(f"{_option('learning_rate')}: must be above 0, not {rate:g}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
