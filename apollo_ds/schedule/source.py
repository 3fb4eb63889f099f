"""The sources of a run: another run's model, a model that `transformers` saved, or a step that a run branches from."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from apollo_ds.models.families import AnyShape
from apollo_ds.models.frozen import NOTHING_FROZEN, Frozen
from apollo_ds.schedule.totals import Totals

HF = "hf:"
"""The prefix of names of models that `transformers` saved."""


def _is_step_of(text: str, folder: Path, step: int) -> bool:
    """Whether the text `RUN@STEP` names this step of the run in `folder`; the path may be spelled in another way."""
    named, separator, number = text.rpartition("@")
    return bool(separator) and number.isdecimal() and int(number) == step and Path(named) == folder


class SourceRun(BaseModel):
    """A run whose model another run starts from. This record is part of the recipe in the new run's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    checkpoint: Path
    step: int
    """The step of the checkpoint, out of `steps`."""
    steps: int
    shape: AnyShape
    """The shape of its last stage; `num_layers` is the number of its unique layers."""
    tokenizer: str | None
    """The hash of its tokenizer; None where an earlier version wrote the folder."""
    spent: Totals
    """What training up to the checkpoint has used, including the source's own source."""
    frozen: Frozen = NOTHING_FROZEN
    """The parts that did not train in that stage, and so have no moments."""
    document_mask: bool | None = None
    """Whether its tokens saw only their own document; None if an earlier version wrote the record."""
    optimizer: str = "adamw"
    """Whose moments it has. Earlier versions knew AdamW alone."""

    def is_named(self, text: str) -> bool:
        """Whether a recipe's text means it."""
        return Path(text) == self.folder or _is_step_of(text, self.folder, self.step)

    @property
    def cost(self) -> dict[str, Any]:
        """What a run records of its source when it starts."""
        spent = {f"source_{key}": getattr(self.spent, key) for key in ("tokens", "flops", "seconds")}
        return {"source": str(self.checkpoint), **spent}

    @property
    def before(self) -> Totals:
        """The totals up to the checkpoint, which do not count for the run that starts from it."""
        return self.spent

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    def __str__(self) -> str:
        return f"{self.folder}, step {self.step:,} of {self.steps:,}"


class SourceModel(BaseModel):
    """A model that `transformers` saved, with its configuration and tokenizer. Its training cost is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hf: str
    """Its name in the recipe, without `hf:`: a folder, or a name on the hub."""
    folder: Path
    """Where its files are."""
    shape: AnyShape
    identity: str
    """A hash of config.json and of the names, shapes and places of its tensors, but not of their values."""
    tokenizer: str | None
    """The hash of the tokenizer of the text that it was trained on, where the model is an export of apollo_ds."""

    def is_named(self, text: str) -> bool:
        """Whether a recipe's text means it."""
        return text == f"{HF}{self.hf}"

    @property
    def before(self) -> Totals:
        """The totals of its training: zero, since they are not known."""
        return Totals()

    @property
    def cost(self) -> dict[str, Any]:
        """What a run records of its source when it starts."""
        return {"source": self.name}

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{HF}{self.hf}"

    def __str__(self) -> str:
        return self.name if Path(self.hf).is_absolute() else f"{self.name} ({self.folder})"


class BranchPoint(BaseModel):
    """A step of a run. Another run branches from it, with all of its training state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    checkpoint: Path
    run: str
    """The identity of the run, from its config.yaml."""
    step: int
    shape: AnyShape
    """The shape of the stage at that step."""
    layers: int
    """The number of its unique layers."""
    depths: tuple[float, ...]
    """The stage's probability of each depth, from the number of unique layers on, or from `shallowest`."""
    shallowest: int | None
    layer_map: str
    frozen: Frozen
    tied_gradients: Literal["sum", "mean"]
    seq_len: int
    pool: int = 1
    feed_forward_rank: int | None = None
    position: int
    """Tokens of the data stream that it has consumed."""
    ended: tuple[int, ...]
    """The steps at which its stages had ended early."""
    learning_rate: float
    """The learning rate of the step before."""
    optimizer: str = "adamw"
    """Whose moments it has. Earlier versions knew AdamW alone."""
    seed: int
    train: str | None
    """The hash of its training text; None where an earlier version wrote the folder."""
    tokenizer: str | None
    """The hash of its tokenizer."""
    spent: Totals
    """What training up to the checkpoint has used, without the run's own source."""
    before: Totals
    """What the run's own source has used."""

    def is_named(self, text: str) -> bool:
        """Whether a recipe's text means it."""
        return _is_step_of(text, self.folder, self.step)

    @property
    def cost(self) -> dict[str, Any]:
        """What a run records of the step that it branches from."""
        spent = {f"shared_{key}": getattr(self.spent, key) for key in ("tokens", "flops", "seconds")}
        return {"parent": self.name, "parent_run": self.run, **spent}

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    def __str__(self) -> str:
        return f"{self.folder}, step {self.step:,}"


Source = SourceRun | SourceModel
"""A source of a run's first weights."""
