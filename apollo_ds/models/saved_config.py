"""A config.json of `transformers`, read by its keys as the class of its family reads it. Nothing here imports torch."""

from collections.abc import Mapping
from typing import Any

from apollo_ds.errors import UserError, shown

_SCALED = ("rope_scaling", "rope_parameters")
"""Keys that describe rotary positions, in the order in which `transformers` looks."""
ROTARY_BASE = 10_000.0
"""The base of rotary positions in a configuration that gives none."""


class SavedConfig:
    """The values of a config.json. A key that is missing or null has the default of the family's class.

    Its errors begin with the key; whoever knows the file puts its name before them.
    """

    def __init__(self, values: Mapping[str, Any], family: str) -> None:
        self._values = values
        self._family = family

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, whatever it is."""
        value = self._values.get(key)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            UserError: it is something else, or missing without a default.
        """
        value = self.get(key, default)
        if value is None:
            raise UserError(f"{key} is missing; save the model again with save_pretrained")
        if type(value) is not int:
            raise UserError(f"{key} must be a whole number, not {shown(value)}; save the model again")
        return value

    def number(self, key: str, default: float) -> float:
        """A number.

        Raises:
            UserError: it is something else.
        """
        return _number(key, self.get(key, default))

    def flag(self, key: str, default: bool) -> bool:
        """True or false.

        Raises:
            UserError: it is something else.
        """
        value = self.get(key, default)
        if type(value) is not bool:
            raise UserError(f"{key} must be true or false, not {shown(value)}; save the model again")
        return value

    def check(self, key: str, default: Any, *others: Any) -> None:
        """Check that a key has its default, or one of other values that compute the same.

        Raises:
            UserError: it has another value.
        """
        value = self.get(key, default)
        if value not in (default, *others):
            raise self.refused(key, value, " or ".join(map(shown, (default, *others))))

    def refused(self, key: str, value: Any, trained: str) -> UserError:
        """The error for a value that the family here has no model for; `trained` says which it has."""
        return UserError(
            f"{key} is {shown(value)}, and {self._family} is trained here only with {trained}; use another model"
        )

    def rotary_base(
        self, base_key: str = "rope_theta", part_key: str = "partial_rotary_factor", part: float = 1
    ) -> float:
        """The base of the wavelengths of rotary positions that turn this part of a head, unscaled.

        Raises:
            UserError: they are scaled, turn another part, or the base is no number.
        """
        key = next((key for key in _SCALED if self.get(key)), _SCALED[-1])
        given = self.rotary_of(key, self.get(key, {}))
        turned = _number(part_key, given.get("partial_rotary_factor", self.get(part_key, part)))
        if turned != part:
            raise self.refused(part_key, turned, f"{part:g}")
        return _number("rope_theta", given.get("rope_theta", self.get(base_key, ROTARY_BASE)))

    def rotary_of(self, key: str, given: Any) -> Mapping[str, Any]:
        """Return the description of rotary positions at a key.

        Raises:
            UserError: it is no mapping, or says that they are scaled.
        """
        if not isinstance(given, Mapping) or given.get("rope_type", given.get("type", "default")) != "default":
            raise self.refused(key, given, "rotary positions that are not scaled")
        return given


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key} must be a number, not {shown(value)}; save the model again")
    return float(value)
