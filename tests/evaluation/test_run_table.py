"""`facecls runs`: states, figures, differences, sorting."""

import csv
import io
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from facecls.checkpoint import read
from facecls.run import Run
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


@pytest.fixture
def several(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> Path:
    """Two finished runs, in different depths, and a copy of one that ended before calibration."""
    root = tmp_path / "runs"
    assert facecls("train", tiny(train={"epochs": 1}), "--out", root / "short").code == 0
    longer = tiny(train={"epochs": 12, "batch_size": 8}, seed=1)
    assert facecls("train", longer, "--out", root / "more" / "long").code == 0
    shutil.copytree(root / "short", root / "cut")
    run = Run(root / "cut")
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if not key.startswith("val_ece")} for line in lines]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return root


def test_state_figures_and_differences_of_each_run(facecls: Facecls, several: Path) -> None:
    rows = {row["name"]: row for row in json.loads(facecls("runs", several, "--format", "json").out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "cut": "interrupted",
        "more/long": "finished",
        "short": "finished",
    }
    best = read(several / "more" / "long").metrics
    long = rows["more/long"]
    assert (long["val_accuracy"], long["epochs"], long["n"], long["device"]) == (best["val_accuracy"], 12, 8, "cpu, fp32")
    low, high = long["val_accuracy_interval"]
    assert low < long["val_accuracy"] < high or math.isclose(high, 1)
    assert long["config"] == {"seed": 1, "train.batch_size": 8, "train.epochs": 12}
    assert rows["short"]["config"] == {"seed": 0, "train.batch_size": 16, "train.epochs": 1}
    assert rows["cut"]["val_ece_calibrated"] is None is not long["val_ece_calibrated"]


def test_the_identification_rate_is_that_of_eval(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "runs" / "one")
    (row,) = json.loads(facecls("runs", tmp_path / "runs", "--format", "json").out)
    options = ("--device", "cpu", "--precision", "fp32", "--split", "val", "--format", "json")
    open_set = json.loads(facecls("eval", trained, *options).out)["open_set"]
    assert row["val_identification_rate"] == open_set["identification_rate"] is not None
    assert row["config"] == {}


def test_running_and_failed_runs(facecls: Facecls, several: Path) -> None:
    (several / "cut" / "last.pt").unlink()
    run = Run(several / "short")
    lock = run.lock()
    try:
        states = {row["name"]: row["state"] for row in json.loads(facecls("runs", several, "--format", "json").out)}
        assert run.locked
    finally:
        lock.release()
    assert not run.locked
    assert states == {"cut": "failed", "more/long": "finished", "short": "running"}


def test_sorting_and_formats(facecls: Facecls, several: Path) -> None:
    found = json.loads(facecls("runs", several, "--format", "json", "--sort", "val_accuracy").out)
    accuracies = [row["val_accuracy"] for row in found]
    assert accuracies == sorted(accuracies, reverse=True)
    by_ece = json.loads(facecls("runs", several, "--format", "json", "--sort", "val_ece_calibrated").out)
    assert by_ece[-1]["name"] == "cut"
    rows = list(csv.DictReader(io.StringIO(facecls("runs", several, "--format", "csv", "--sort", "seconds").out)))
    assert [float(row["seconds"]) for row in rows] == sorted(float(row["seconds"]) for row in rows)
    assert {row["name"]: row["train.epochs"] for row in rows} == {"cut": "1", "more/long": "12", "short": "1"}
    table = facecls("runs", several).out
    head = "run state accuracy* 95 % CI macro F1* ECE* DIR* epochs time device"
    assert table.splitlines()[0].split() == head.split()
    assert (
        "\n* of the epoch that is kept, on the validation images: optimistic if it was selected or calibrated on them\n"
        in table
    )
    assert "short: seed=0, train.batch_size=16, train.epochs=1\n" in table


def test_the_commit_of_the_working_directory_is_kept(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(train={"epochs": 1})
    monkeypatch.chdir(tmp_path)
    facecls("train", config, "--out", "runs/outside")
    git = ["git", "-c", "user.name=a", "-c", "user.email=b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    facecls("train", config, "--out", "runs/inside")
    rows = {row["name"]: row["git_commit"] for row in json.loads(facecls("runs", "--format", "json").out)}
    assert rows == {"outside": None, "inside": head}


@pytest.mark.parametrize(("make", "problem"), [(False, "no such folder"), (True, "holds no runs")])
def test_a_folder_without_runs_is_an_error(facecls: Facecls, tmp_path: Path, make: bool, problem: str) -> None:
    folder = tmp_path / "none"
    if make:
        folder.mkdir()
    result = facecls("runs", folder)
    assert result.code == 1
    assert result.err == f"error: {folder}: {problem}\n\nhint: name run directories, or folders that hold them\n"


def test_runs_may_be_named_one_by_one(facecls: Facecls, several: Path) -> None:
    chosen = [several / "short", several / "more" / "long"]
    assert [row["name"] for row in json.loads(facecls("runs", *chosen, "--format", "json").out)] == list(map(str, chosen))
    (row,) = json.loads(facecls("runs", several / "short", "--format", "json").out)
    assert row["name"] == str(several / "short")
