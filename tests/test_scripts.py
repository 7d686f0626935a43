"""The scripts that people and CI run."""

import importlib
import os
import re
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [path for path in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run") if path.is_file()]
IN_BASH = [path for path in SCRIPTS if path.read_text().startswith("#!/usr/bin/env bash")]

# What came after bash 3.2, which is the one that macOS has.
NEWER = r"\b(mapfile|readarray|coproc|wait -n)\b|\b(declare|local) -[An]|\$\{[^}]*(,,|\^\^|@[A-Z]\})|\|&|&>>"


@pytest.mark.parametrize("path", IN_BASH, ids=lambda path: path.name)
def test_the_scripts_ask_for_no_newer_bash_than_macos_has(path: Path) -> None:
    assert re.findall(NEWER, path.read_text()) == []


def test_a_set_up_without_python_says_so() -> None:
    environment = os.environ | {"PYTHON": "python-of-nobody"}
    done = subprocess.run([ROOT / "scripts" / "setup"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "error: there is no python-of-nobody here, facecls needs Python 3.11 or newer\n\n"
        "hint: PYTHON=python3.12 scripts/setup\n"
    )


def test_the_yardstick_runs_in_the_environment_of_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = tmp_path / "loop.py"
    loop.write_text(
        "import json, os\n"
        "known = os.environ['CUDA_VISIBLE_DEVICES'] == '7' and os.environ['OMP_NUM_THREADS'] == '3'\n"
        "print(json.dumps({'train_images_per_second': 5.0 if known else 0.0}))\n"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    peer = importlib.import_module("train").peer
    assert peer(Namespace(loop=loop, folders=tmp_path, size=112, threads=3), []) == 5.0
