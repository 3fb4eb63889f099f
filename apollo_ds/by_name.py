"""A pydantic field whose class is chosen by a name in its value, from classes that are found at run time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

UNKNOWN_NAME = "unknown_name"
"""The type of pydantic's error where no class has the name."""


@dataclass(frozen=True)
class ByName:
    """Makes a discriminated union of a field: `Annotated[Method, ByName("name", find)]`.

    The place of an error (`loc`) names the class as `name:apollo`. No key has a name of this form.
    """

    key: str
    """The key of the value that holds the name."""
    classes: Callable[[], Mapping[str, type[BaseModel]]]
    """Returns the classes by name. It is called when the schema is built, and again by `model_rebuild`. A name that
    begins with "_" is for values that the package itself makes: messages do not offer it."""

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        classes = self.classes()
        return core_schema.tagged_union_schema(
            {self.tag(name): handler.generate_schema(kind) for name, kind in classes.items()},
            discriminator=self._tag_of,
            custom_error_type=UNKNOWN_NAME,
            custom_error_message="no such name",
            custom_error_context={"key": self.key, "known": " ".join(name for name in classes if name[0] != "_")},
        )

    def tag(self, name: str) -> str:
        """The name of a class within the place of an error, such as `name:apollo`."""
        return f"{self.key}:{name}"

    def _tag_of(self, value: Any) -> str | None:
        if isinstance(value, Mapping):
            name = value.get(self.key)
        else:  # an instance: if several names share its class, any of them will do
            name = next((name for name, kind in self.classes().items() if type(value) is kind), None)
        return None if name is None else self.tag(str(name))
