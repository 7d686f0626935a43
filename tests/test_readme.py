"""The README is run: its commands work, its config is the defaults, its map is the files."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from facecls.config.schema import Config, flatten
from facecls.config.yaml import parse_value
from tests.conftest import Result

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What the README trains in a minute, the test trains in a second.
SMALL = "--set data.image_size=32 --set model.name=cnn --set train.epochs=2".split()  # noqa: SIM905 -- as one types it


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_its_commands_work_in_their_order(
    facecls: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 8
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "facecls"
        if words[0] in ("train", "check", "cross-validate"):
            words += SMALL
        if words[0] == "demo-faces":
            words += ["--people", "4", "--each", "10"]
        result = facecls(*words)
        assert result.code == 0, f"{command}\n{result.err}"


def test_its_config_names_every_key_with_its_default() -> None:
    told = flatten(parse_value(blocks("yaml")[0]))
    plain = Config.model_validate({"data": {"root": told.pop("data.root")}}).model_dump(mode="json")
    defaults = flatten(plain)
    del defaults["data.root"]
    empty = {key for key, value in told.items() if value == {}}
    assert {key: value for key, value in told.items() if key not in empty} == defaults


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_config_opens_with_its_command_and_names_its_schema(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first == f"# facecls train configs/{path.name}"
    assert second == "# yaml-language-server: $schema=schema.json"
    Config.model_validate(yaml.safe_load(path.read_text()))
