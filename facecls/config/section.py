"""The base class of the config's sections."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from facecls.config.registered import Registered


class Section(BaseModel):
    """A frozen group of settings, read by one builder; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def check_input(cls, value: Any, info: ValidationInfo) -> Any:
        """Rejects true and false as numbers (pydantic takes them for 1 and 0) and names that are not registered."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool):
            kinds = (field.annotation, *get_args(field.annotation))  # of `int | None` both
            if int in kinds:
                raise PydanticKnownError("int_type")
            if float in kinds:
                raise PydanticKnownError("float_type")
        for marker in field.metadata:
            if isinstance(marker, Registered) and value != field.default:
                marker.check(value)
        return value
