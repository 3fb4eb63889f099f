"""How all classes of a recipe check the values of their fields."""

from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError


class Checked(BaseModel):
    """Fields that a user sets. Unknown keys, infinite numbers, and `true` in place of a number are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true` for a number: pydantic would read it as 1."""
        parts = value if isinstance(value, list | tuple) else [value]
        kind = cls.model_fields[str(info.field_name)].annotation
        takes_truth = kind in (bool, bool | None) or get_origin(kind) is Literal
        if not takes_truth and any(isinstance(part, bool) for part in parts):
            raise PydanticKnownError("float_type")
        return value
