"""The scripts for developers and CI."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from facecls.device import resolve_device
from facecls.precision import DTYPES
from facecls.processor import processor

ROOT = Path(__file__).parent.parent
SCRIPTS = [path for path in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run") if path.is_file()]
BASH_SCRIPTS = [path for path in SCRIPTS if path.read_text().startswith("#!/usr/bin/env bash")]

# Syntax that bash 3.2, the version of macOS, lacks.
NEWER_THAN_BASH_3 = r"\b(mapfile|readarray|coproc|wait -n)\b|\b(declare|local) -[An]|\$\{[^}]*(,,|\^\^|@[A-Z]\})|\|&|&>>"


@pytest.mark.parametrize("path", BASH_SCRIPTS, ids=lambda path: path.name)
def test_scripts_run_in_the_bash_of_macos(path: Path) -> None:
    assert re.findall(NEWER_THAN_BASH_3, path.read_text()) == []


def test_setup_without_python_is_an_error() -> None:
    environment = os.environ | {"PYTHON": "missing-python"}
    done = subprocess.run([ROOT / "scripts" / "setup"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "error: missing-python: no such command; facecls needs Python 3.11 or newer\n\nhint: PYTHON=python3.12 scripts/setup\n"
    )


FAKE_PYTHON = """#!/bin/sh
echo "{name}: $*" >> asked
case "$*" in
    *"print(sys.version)") echo "{name}" ;;
    *sys.version_info*) exit {too_old} ;;
    "-m venv .venv") mkdir -p .venv/bin && {{ [ -e .venv/bin/python ] || cp "$0" .venv/bin/python; }} ;;
esac
"""


def fake(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def run_in(checkout: Path, script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a copy of a script in a folder that holds only what the test has put there."""
    (checkout / "scripts").mkdir(exist_ok=True)
    copied = shutil.copy(ROOT / "scripts" / script, checkout / "scripts")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run([copied], env=plain | environment, capture_output=True, text=True, timeout=60)


def test_setup_keeps_the_python_of_the_environment_unless_another_is_requested(tmp_path: Path) -> None:
    old, new, newer = (
        str(fake(tmp_path / "bin" / file, FAKE_PYTHON.format(name=file, too_old=int(file == "python3"))))
        for file in ("python3", "python3.12", "python3.13")
    )
    path = f"{Path(old).parent}:{os.environ['PATH']}"
    (tmp_path / "pyproject.toml").write_text("")

    def set_up(**environment: str) -> tuple[int, str, list[str]]:
        """The exit code, stderr, and which Pythons ran `pip install`."""
        (tmp_path / "asked").unlink(missing_ok=True)
        done = run_in(tmp_path, "setup", PATH=path, **environment)
        asked = (tmp_path / "asked").read_text().splitlines()
        return done.returncode, done.stderr, [line.partition(":")[0] for line in asked if "pip install" in line]

    anew = "setting up .venv; takes a minute or two, mostly for torch\n"
    assert set_up() == (
        1,
        "error:  is too old, facecls needs 3.11 or newer\n\nhint: PYTHON=python3.12 scripts/setup\n",
        [],
    )
    assert set_up(PYTHON=new) == (0, anew, ["python3.12"])
    assert set_up() == (0, "", [])
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert set_up() == (0, anew, ["python3.12"])
    assert set_up(PYTHON=newer) == (0, anew, ["python3.13"])
    assert set_up() == (0, "", [])


@pytest.mark.parametrize("failing", ["", "AVX512_CORE", "AVX2"])
def test_ci_runs_the_numeric_tests_as_on_older_processors_and_fails_if_they_fail(tmp_path: Path, failing: str) -> None:
    fake(tmp_path / "bin" / "chromium", "#!/bin/sh\n")
    fake(tmp_path / "scripts" / "test", "#!/bin/sh\necho all tests\n")
    fake(
        tmp_path / ".venv" / "bin" / "pytest",
        f'#!/bin/sh\necho "pytest $1 $ONEDNN_MAX_CPU_ISA/$ATEN_CPU_CAPABILITY"\n[ "$ONEDNN_MAX_CPU_ISA" != "{failing}" ]\n',
    )
    (tmp_path / ".ci").mkdir()
    run = shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([run], env=environment, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("numeric tests")]
    expected = ["all tests", "pytest tests/models AVX512_CORE/", "pytest tests/models AVX2/avx2"]
    assert (done.returncode, lines) == (int(failing != ""), expected[: 2 if failing == "AVX512_CORE" else 3])


def test_an_interrupted_demo_draws_its_faces_again(tmp_path: Path) -> None:
    fake(tmp_path / "scripts" / "setup", "#!/bin/sh\n")
    draws = '#!/bin/sh\n[ "$1" = demo-faces ] || exit 3\nmkdir -p "$2" && touch "$2/{image}" && exit {code}\n'
    fake(tmp_path / ".venv" / "bin" / "facecls", draws.format(image="half", code=130))
    assert run_in(tmp_path, "demo").returncode == 130
    assert not (tmp_path / "demo" / "faces").exists()
    fake(tmp_path / ".venv" / "bin" / "facecls", draws.format(image="whole", code=0))
    assert run_in(tmp_path, "demo").returncode == 3
    assert [path.name for path in (tmp_path / "demo").rglob("*")] == ["faces", "whole"]


def test_a_round_of_fuzzing_decodes_nothing_wrongly(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz"), "--seconds", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"\d+ files in \d+ s: \d+ decoded, \d+ rejected, 0 decoded wrongly\n", done.stdout)


def test_soak_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "soak"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--kills" in done.stdout, done.stderr


def test_the_baseline_runs_in_the_environment_of_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = tmp_path / "loop.py"
    loop.write_text(
        "import json, os\n"
        "known = os.environ['CUDA_VISIBLE_DEVICES'] == '7' and os.environ['OMP_NUM_THREADS'] == '3'\n"
        "print(json.dumps({'train_images_per_second': 5.0 if known else 0.0}))\n"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    measure_baseline = importlib.import_module("train").measure_baseline
    assert measure_baseline(Namespace(loop=loop, folders=tmp_path, size=112), []) == 5.0


def test_bench_lists_the_benchmarks() -> None:
    done = subprocess.run([ROOT / "scripts" / "bench"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    names = "collages data detection gpu index photographs precision predict train unknown"
    assert done.stderr == f"usage: scripts/bench NAME [ARGUMENTS], NAME one of: {names} \n"


def test_a_benchmark_prints_processor_precision_and_threads(trained: Path, faces: Path) -> None:
    script = ROOT / "scripts" / "benchmarks" / "predict.py"
    command: list[str | Path] = [sys.executable, script, faces, "--checkpoint", trained, "--rounds", "1", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["processor"] == processor() and result["precision"] in DTYPES and result["threads"] == 1


def test_conditions_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    line = importlib.import_module("_conditions").conditions_line(resolve_device("cpu", "fp32"))
    assert line == f"{processor()}, cpu, fp32, 1 thread, torch {torch.__version__}"
