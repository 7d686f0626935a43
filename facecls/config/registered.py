"""Config values that are keys of a registry, which is imported only when it is needed."""

import pkgutil
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError


@dataclass(frozen=True)
class Registered:
    """Annotates a `str` field of a Section whose value must be a key of `registry`, a mapping written `module:NAME`.

    The modules of the registries import the config and torch. So a registry is imported only to validate a value other than
    the field's default, or to make the JSON schema.
    """

    registry: str

    def names(self) -> list[str]:
        """The keys of the registry."""
        return list(pkgutil.resolve_name(self.registry))

    def check(self, value: Any) -> None:
        """Raises pydantic's error for a `Literal` of the names if `value` is not one of them."""
        names = self.names()
        if value not in names:
            *first, last = (repr(name) for name in names)
            raise PydanticKnownError("literal_error", {"expected": " or ".join([", ".join(first), last] if first else [last])})

    def __get_pydantic_json_schema__(self, _core_schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": self.names(), "type": "string"}
