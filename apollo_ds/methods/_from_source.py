"""Methods that start from a smaller model: one that they train first, or one that is trained already."""

from pydantic import Field, ValidationInfo, field_validator

from apollo_ds.methods._base import Run, Sourced, divided
from apollo_ds.schedule.stage import Stage


class FromSource(Sourced):
    """What such methods have in common."""

    source_fraction: float = Field(default_factory=lambda given: 0.0 if given["source"] else 0.25, ge=0, lt=1)
    """The part of the run's steps that trains the small model. By default a quarter, or none if `source` is given."""

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
        return self.stage_of_source(run)
