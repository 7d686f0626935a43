"""Reads YAML with YAML 1.2's scalars and the line of every key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from facecls.errors import ConfigError

Key = tuple[str, ...]

INIT_HINT = "`facecls init DIR` writes a config that fits a folder of faces"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `1e-3` and `010` (ten) are numbers; `no`, `12:30:00`, `2024-01-01` are strings (class names)."""


class _Dumper(yaml.SafeDumper):
    """Quotes strings that YAML 1.1 or 1.2 would read as another type."""


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0 if text.startswith(("0o", "0x")) else 10)


_BOOL, _INT, _FLOAT, _TIME = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {_BOOL, _INT, _FLOAT, _TIME}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _class in (_Loader, _Dumper):
    # In this order: the pattern of floats also matches whole numbers.
    for _tag, _pattern, _firsts in (
        (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
        (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
        (_FLOAT, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ):
        _class.add_implicit_resolver(_tag, re.compile(rf"({_pattern})$"), list(_firsts))
_Loader.add_constructor(_INT, _whole_number)


@dataclass
class Document:
    """A YAML mapping: its values, where every key is (`FILE:LINE`, lines from 1), and errors about duplicate keys."""

    values: dict[str, Any]
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def parse_value(text: str) -> Any:
    """The value of `text` as YAML; raises ConfigError if it is not valid YAML."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"`{text}` is not YAML: {_first_line(error)}") from None


def to_yaml(plain: Mapping[str, Any]) -> str:
    """YAML text that reads back as `plain`."""
    return yaml.dump(dict(plain), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_document(path: Path, extended_by: tuple[Path, ...] = ()) -> Document:
    """Reads a YAML file whose top level is a mapping, and below it the file that its key `extends` names.

    That file is relative to the one that names it, and its values count where this one has none; sections are merged. Raises
    ConfigError if a file is not a mapping, cannot be read, or extends itself; `extended_by` are the files that led here.
    """
    document = _read_one(path)
    base = document.values.pop("extends", None)
    if base is None:
        return document
    place = document.places.pop(("extends",))
    if not isinstance(base, str):
        raise ConfigError(f"{place}: extends: input should be a path, got {base!r}")
    chain = (*extended_by, path.resolve())
    below = path.parent / base
    if below.resolve() in chain:
        raise ConfigError(f"{place}: extends: `{base}` extends this file itself", hint="remove one `extends`")
    if not below.exists():
        raise ConfigError(f"{place}: extends: {below}: no such file", hint=f"the path is relative to {path.parent.absolute()}")
    first = read_document(below, chain)
    values = merged(first.values, document.values)
    return Document(values, first.places | document.places, first.problems + document.problems)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The values of both, those of `above` where both have one."""
    values = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = merged(values[key], value) if both else value
    return values


def _read_one(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint=INIT_HINT) from None
    except IsADirectoryError:
        hint = f"`facecls init {path}` writes a config for the faces in it"
        raise ConfigError(f"{path}: is a folder, not a config file", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = Document({})
        if isinstance(node, yaml.MappingNode):
            _note_keys(node, (), path, document)
            document.values = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        hint = "write sections and keys as `key: value`, indented with spaces"
        raise ConfigError(f"{where}: not valid YAML: {_first_line(error)}", hint=hint) from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path}: a config is a mapping of sections, this is {_kind(node)}",
            hint="it begins like this:\n\ndata:\n  root: faces/",
        )
    return document


def _note_keys(node: yaml.MappingNode, above: Key, path: Path, document: Document) -> None:
    # PyYAML silently keeps the last of two equal keys, so they are found before values are constructed.
    for key_node, value_node in node.value:
        key = (*above, str(key_node.value))
        place = f"{path}:{key_node.start_mark.line + 1}"
        if key in document.places:
            first = document.places[key].rpartition(":")[2]
            document.problems.append(f"{place}: {'.'.join(key)}: appears twice, first in line {first}")
        document.places.setdefault(key, place)
        if isinstance(value_node, yaml.MappingNode):
            _note_keys(value_node, key, path, document)


def _kind(node: yaml.Node | None) -> str:
    if node is None:
        return "an empty file"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply, or an alias inside the value that it refers to"
    return str(getattr(error, "problem", None) or error).splitlines()[0]
