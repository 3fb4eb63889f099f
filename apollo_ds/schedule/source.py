"""What another model or run starts from: a run, as its folder tells, or a model that `transformers` saved."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from apollo_ds.models.families import AnyShape
from apollo_ds.schedule.totals import Totals


class SourceRun(BaseModel):
    """What a run must know of its source. It is part of the recipe in the run's own folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    checkpoint: Path
    step: int
    """The checkpoint's, of `steps`."""
    steps: int
    shape: AnyShape
    """That of its last stage; `num_layers` is the number of its unique layers."""
    tokenizer: str | None
    """The hash of its tokenizer; None where an earlier version wrote the folder."""
    spent: Totals
    """What training up to the checkpoint has used, including the source's own source."""

    @property
    def cost(self) -> dict[str, Any]:
        """What a run records of its source when it starts."""
        spent = {f"source_{key}": getattr(self.spent, key) for key in ("tokens", "flops", "seconds")}
        return {"source": str(self.checkpoint), **spent}

    def __str__(self) -> str:
        return f"{self.folder}, step {self.step:,} of {self.steps:,}"


class SourceModel(BaseModel):
    """A checkpoint of `transformers`: a model with its configuration and tokenizer. What it has cost is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hf: str
    """What the recipe calls it, without `hf:`: a folder, or a name on the hub."""
    folder: Path
    """Where its files are."""
    shape: AnyShape
    identity: str
    """A hash of config.json and of the names, shapes and places of its tensors, but not of their values."""
    tokenizer: str | None
    """The hash of the tokenizer of the text that it was trained on, where the model is an export of apollo_ds."""

    @property
    def spent(self) -> Totals:
        """Nothing that is known."""
        return Totals()

    @property
    def cost(self) -> dict[str, Any]:
        """What a run records of its source when it starts."""
        return {"source": f"hf:{self.hf}"}

    def __str__(self) -> str:
        return f"hf:{self.hf}"


Source = SourceRun | SourceModel
