"""Reading a model that `transformers` saved."""

from apollo_ds.errors import UserError
from apollo_ds.schedule.source import SourceModel


def read_model(name: str) -> SourceModel:
    """The model that `hf:NAME` means."""
    raise UserError(name)
