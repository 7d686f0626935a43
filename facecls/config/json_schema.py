"""The JSON schema of config files."""

from typing import Any

from facecls.config.schema import Config


def json_schema() -> dict[str, Any]:
    """The JSON schema of a config file, by which editors check and complete it."""
    schema = Config.model_json_schema()
    extends = {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "default": None,
        "title": "Extends",
        "description": "config file whose values count where this one has none; relative to this file",
    }
    schema["properties"] = {"extends": extends, **schema["properties"]}
    # The sections that a file lacks may be in the one that it extends.
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["extends"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
