"""Reads YAML keeping the line of every key, and without YAML 1.1's surprises."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from facecls.errors import ConfigError

Key = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `1e-3` is a number, and `no`, `on`, `y` are words (class names, say), not booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"([-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)


@dataclass
class Document:
    """A YAML mapping: its values, the line of every key (counted from 1), and what was wrong with its form."""

    values: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def parse_value(text: str) -> Any:
    """The value that `text` has as YAML; raises ConfigError where it is none."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"`{text}` is not YAML: {_first_line(error)}") from None


def read_document(path: Path) -> Document:
    """Reads a YAML file whose top is a mapping; raises ConfigError where it is none or cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "`facecls init DIR` writes a config that fits a folder of faces"
        raise ConfigError(f"{path}: no such file", hint=hint) from None
    except IsADirectoryError:
        hint = f"`facecls init {path}` writes a config for the faces in it"
        raise ConfigError(f"{path}: is a folder, not a config file", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        hint = "sections and keys are written `key: value`, indented with spaces"
        raise ConfigError(f"{where}: not valid YAML: {_first_line(error)}", hint=hint) from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path}: a config is a mapping of sections, this is {_kind(node)}",
            hint="it begins like this:\n\ndata:\n  root: faces/",
        )
    document = Document({})
    _note_keys(node, (), path, document)
    document.values = loader.construct_document(node)
    return document


def _note_keys(node: yaml.MappingNode, above: Key, path: Path, document: Document) -> None:
    # PyYAML keeps the last of two equal keys without a word, so they are looked for before values are made.
    for key_node, value_node in node.value:
        key = (*above, str(key_node.value))
        line = key_node.start_mark.line + 1
        if key in document.lines:
            first = document.lines[key]
            document.problems.append(f"{path}:{line}: {'.'.join(key)}: stands twice, first in line {first}")
        document.lines.setdefault(key, line)
        if isinstance(value_node, yaml.MappingNode):
            _note_keys(value_node, key, path, document)


def _kind(node: yaml.Node | None) -> str:
    if node is None:
        return "an empty file"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _first_line(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]
