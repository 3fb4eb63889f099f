"""The base class of methods that start from a smaller model, which they train first or which is given."""

from pydantic import Field, ValidationInfo, field_validator

from apollo_ds.methods._base import Run, Sourced, divided
from apollo_ds.schedule.stage import Stage


class FromSource(Sourced):
    """A method that starts from a smaller model: it trains the model first, unless `source` gives a trained one."""

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
        """Return the first stage: a model of `layers` layers and a part of the width, or the given source.

        The stage of a given source has zero steps.

        Raises:
            UserError: `hidden_divisor` does not divide the width, or the given source cannot grow into the model.
        """
        if self.source is None:
            return self.stage(run, steps, layers, shape=divided(run.shape, hidden=hidden_divisor))
        return self.stage_of_source(run)
