"""README and docs are run: commands and Python blocks work, config.md is generated, links lead somewhere, configs open well."""

import importlib.machinery
import importlib.util
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from facecls.config.json_schema import json_schema
from facecls.config.schema import Config
from tests.conftest import Result

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

# What the README trains in a minute, the test trains in a second.
SMALL = ["--set", "data.image_size=32", "--set", "model.name=cnn", "--set", "train.epochs=2"]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_commands_of_the_readme_work_in_their_order_and_then_its_python(
    facecls: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(DOCS[0], "console") for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    assert len(commands) >= 8
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "facecls"
        if words[0] in ("train", "check", "cross-validate"):
            words += SMALL
        if words[0] == "demo-faces":
            words += ["--people", "4" if "faces" in words[1] else "30", "--each", "10" if "faces" in words[1] else "1"]
        result = facecls(*words)
        assert result.code == 0, f"{command}\n{result.err}"
    (block,) = blocks(DOCS[0], "python")
    exec(compile(block, "README.md", "exec"), {})


def test_the_readme_is_short() -> None:
    assert len(DOCS[0].read_text(encoding="utf-8").splitlines()) <= 200


def test_the_python_of_the_docs_runs_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    found = blocks(ROOT / "docs" / "python.md", "python")
    assert len(found) > 5
    for block in found:
        exec(compile(block.replace("n_trials=10", "n_trials=3"), "python.md", "exec"), names)


def script(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_config_reference_is_the_one_the_schema_gives() -> None:
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == script("docs").config_reference(json_schema())


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_config_opens_with_its_command_and_names_its_schema(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first == f"# facecls train configs/{path.name}"
    assert second == "# yaml-language-server: $schema=schema.json"
    Config.model_validate(yaml.safe_load(path.read_text()))
