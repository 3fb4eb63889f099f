"""Methods that start from a smaller model: one that they train first, or one that another run has trained."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Method, Run, divided
from apollo_ds.models.shape import why_not_grown
from apollo_ds.schedule.source import SourceRun
from apollo_ds.schedule.stage import Stage

_FOLDER = {"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}], "default": None}
"""What a recipe gives for a source run."""


def _read(source: Any, info: ValidationInfo) -> Any:
    """The run that a recipe names by its folder, read by what `config.load` gives the validation as its context."""
    return info.context(Path(os.path.expanduser(source))) if isinstance(source, str) and info.context else source


class FromSource(Method):
    """What such methods have in common."""

    source: Annotated[SourceRun | None, BeforeValidator(_read), WithJsonSchema(_FOLDER)] = None
    """The run that has trained the smaller model, where one has. A recipe names its folder."""
    source_fraction: float = Field(default_factory=lambda given: 0.0 if given["source"] else 0.25, ge=0, lt=1)
    """The part of the run's steps that trains the source: a quarter, or none where `source` is given."""

    @field_validator("source_fraction")
    @classmethod
    def _is_trained_once(cls, fraction: float, info: ValidationInfo) -> float:
        if fraction and info.data["source"]:
            raise ValueError("the source is trained already; remove either source or source_fraction")
        if not fraction and not info.data["source"]:
            raise ValueError("must be more than 0, unless source names a run that has trained the source")
        return fraction

    def source_stage(self, run: Run, steps: int, layers: int, hidden_divisor: int) -> Stage:
        """The first stage: of so many steps, layers and that part of the width; or the given source, of no steps.

        Raises:
            UserError: the model's width cannot be divided so, or the given source cannot grow into the model.
        """
        if self.source is None:
            return self.stage(run, steps, layers, shape=divided(run.shape, hidden=hidden_divisor))
        small = self.source.shape
        obstacle = why_not_grown(small, run.shape)
        if obstacle:
            raise UserError(f"method.source: {self.source.folder} cannot grow into the model: {obstacle}")
        return self.stage(run, 0, small.num_layers, shape=small, source=self.source)
