"""Layers: a module imports only from packages below its own, opens with a docstring, and has at most 300 lines."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "facecls"

# From the lowest layer up. Modules of one package may import one another; packages of one layer may not.
FLOORS = [
    {"errors"},
    {"files", "text", "weights", "seeding", "progress", "prefetch", "processor", "warning_filters"},
    {"config", "precision"},
    {"run", "device", "open_set"},
    {"faces", "synthetic"},
    {"data", "models"},
    {"checkpoint"},
    {"evaluation"},
    {"training", "inference", "report"},
    {"check"},
    {"api"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def imports_of(path: Path) -> set[str]:
    """The top-level packages of facecls that a module imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = inner if node.module == "facecls" else [str(node.module)]
        found |= {name.split(".")[1] for name in names if name.startswith("facecls.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    available = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if available == "__init__":
        assert imports_of(path) == set()
        return
    upward = {name for name in imports_of(path) - {available} if FLOOR[name] >= FLOOR[available]}
    assert not upward


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_a_docstring_and_at_most_300_lines(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert "TYPE_CHECKING" not in path.read_text()
    assert len(path.read_text().splitlines()) <= 300
