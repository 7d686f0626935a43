"""Reads a config from YAML and `--set`, and reports all mistakes together with their lines."""

import copy
import difflib
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from facecls.config.schema import Config, ModelConfig, Section
from facecls.config.yaml import INIT_HINT, Key, merged, parse_value, read_document
from facecls.errors import ConfigError

# The expected input by the first word of pydantic's error type, as in `int_parsing` and `int_type`
_EXPECTED = {"float": "a number", "int": "a whole number", "path": "a path", "bool": "true or false"}


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """The config of a YAML file; `overrides` (`section.key=value`, the value YAML) take precedence.

    Raises ConfigError with all mistakes together.
    """
    document = read_document(path)
    problems = list(document.problems)
    origins: dict[Key, str] = {key: f"{place}: " for key, place in document.places.items()}
    for override in overrides:
        try:
            key, value = _parse_override(override)
            _put(document.values, key, value)
        except ConfigError as error:
            problems += [f"--set {problem}" for problem in error.problems]
        else:
            origins[key] = "--set "
    return _validate(document.values, problems, origins, f"{path}: ")


def config_of(values: Mapping[str, Any]) -> Config:
    """The config of nested plain values, in which a key may also be dotted, as in `{"train.epochs": 3}`.

    `extends` names a config file, relative to the working directory.
    Raises ConfigError with all mistakes together.
    """
    nested: dict[str, Any] = {}
    problems: list[str] = []
    # Sections before single keys, which would otherwise be lost with the section that they were put into.
    for key, value in sorted(values.items(), key=lambda item: str(item[0]).count(".")):
        try:
            _put(nested, tuple(str(key).split(".")), copy.deepcopy(value))
        except ConfigError as error:
            problems += error.problems
    if (base := nested.pop("extends", None)) is None:
        return _validate(nested, problems, {}, "")
    document = read_document(Path(base))
    origins = {key: f"{place}: " for key, place in document.places.items()}
    return _validate(merged(document.values, nested), [*document.problems, *problems], origins, "")


def config_from(config: Mapping[str, Any] | Config | str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config of a mapping as in `config_of`, a config or a config file; `overrides` (dotted keys) take precedence.

    Raises ConfigError with all mistakes together.
    """
    if isinstance(config, str | Path):
        return config_of({"extends": config} | dict(overrides)) if overrides else load_config(Path(config))
    if isinstance(config, Config):
        return config_of(config.model_dump(mode="json") | dict(overrides)) if overrides else config
    return config_of({**config, **(overrides or {})})


def _validate(values: dict[str, Any], problems: list[str], origins: dict[Key, str], otherwise: str) -> Config:
    """The config; each mistake is added to `problems` after the text in `origins` that says where its key comes from."""
    hints: list[str] = []
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        for mistake in error.errors():
            problem, hint = _explain(mistake)
            problems.append(_origin(tuple(str(part) for part in mistake["loc"]), origins, otherwise) + problem)
            hints += [hint] if hint and hint not in hints else []
    name, hint = _unknown_model(values)
    if hint:
        problems.append(f"{_origin(('model', 'name'), origins, otherwise)}model.name: `{name}` is not a model")
        hints.append(hint)
    if problems:
        raise ConfigError(*problems, hint="\n".join(hints) or "`facecls config schema` prints the type and range of every key")
    return config


def keys_named(name: str) -> list[str]:
    """The dotted keys of the config whose last part, or the whole, is `name`."""
    keys = [f"{section}.{key}" for section in Config.model_fields for key in _section_keys(section)]
    keys += [key for key in Config.model_fields if not _section_keys(key)]
    return [key for key in keys if name in (key, key.rpartition(".")[2])]


def _unknown_model(values: dict[str, Any]) -> tuple[str, str]:
    """The name of the model and the hint if it is not registered; empty if it is, or if the library tells."""
    section = values.get("model")
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str) or name == ModelConfig.model_fields["name"].default:
        return "", ""
    return name, pkgutil.resolve_name("facecls.models:unknown_name_hint")(name)  # imports torch


def _parse_override(text: str) -> tuple[Key, Any]:
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"{text}: should be section.key=value")
    return tuple(dotted.strip().split(".")), parse_value(value)


def _put(values: dict[str, Any], key: Key, value: Any) -> None:
    section: Any = values
    for depth, name in enumerate(key[:-1]):
        if section.get(name) is None:
            section[name] = {}
        section = section[name]
        if not isinstance(section, dict):
            raise ConfigError(f"{'.'.join(key)}: {'.'.join(key[: depth + 1])} is a value, not a section")
    section[key[-1]] = value


def _origin(loc: Key, origins: dict[Key, str], otherwise: str) -> str:
    # A missing key has no line: the line of the nearest section above it is reported.
    for length in range(len(loc), 0, -1):
        if loc[:length] in origins:
            return origins[loc[:length]]
    return otherwise


def _explain(mistake: ErrorDetails) -> tuple[str, str]:
    """One mistake as (problem, hint)."""
    loc = tuple(str(part) for part in mistake["loc"] if part != "[key]")  # which pydantic appends for a wrong dict key
    key = ".".join(loc)
    kind, message, hint = mistake["type"], mistake["msg"].removeprefix("Value error, "), ""
    if kind == "extra_forbidden":
        return _explain_unknown(loc)
    if kind == "missing":
        return f"{key}: is missing", INIT_HINT if key.startswith("data") else ""
    if kind == "model_type":
        return f"{key}: should be a section with keys, got {mistake['input']!r}", ""
    if kind == "value_error":
        return f"{key}: {message}" if key else message, ""
    if kind == "literal_error":
        hint = _did_you_mean(str(mistake["input"]).lower(), re.findall(r"'([^']*)'", mistake["ctx"]["expected"]))
    elif kind == "string_pattern_mismatch":
        message = f"input should be one of {Config.model_fields['device'].description}"  # no other key has a pattern
    elif expected := _EXPECTED.get(kind.split("_")[0]):
        message = f"input should be {expected}"
    return f"{key}: {message[0].lower()}{message[1:]}, got {mistake['input']!r}", hint


def _explain_unknown(loc: Key) -> tuple[str, str]:
    *above, name = loc
    section = _section_keys(".".join(above))
    problem = f"{'.'.join(loc)}: `{name}` is not a key of {'.'.join(above) or 'the config'}"
    home = next((other for other in Config.model_fields if name in _section_keys(other)), None)
    if home is not None and not difflib.get_close_matches(name, section, cutoff=0.8):
        return problem, f"`{name}` belongs to `{home}`"
    # Without the section, whose equal letters would make any two keys similar.
    near, words = difflib.get_close_matches(name, section, n=1), name.replace("_", " ")
    here = near or [key for key, text in section.items() if re.search(rf"\b{re.escape(words)}\b", text)]
    elsewhere = [f"{other}.{key}" for other in Config.model_fields for key in _section_keys(other) if name in key.split("_")]
    if meant := [".".join((*above, key)) for key in here] or elsewhere:
        return problem, f"did you mean {' or '.join(f'`{key}`' for key in meant)}?"
    return problem, f"its keys are {', '.join(section)}"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{nearest[0]}`?" if nearest else ""


def _section_keys(section: str) -> dict[str, str]:
    """The keys of a section (`""` for the top level) with their descriptions; none if there is no such section."""
    kind = getattr(Config.model_fields.get(section), "annotation", None) if section else Config
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return {}
    return {key: field.description or "" for key, field in kind.model_fields.items()}
