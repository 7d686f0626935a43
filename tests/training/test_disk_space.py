"""Runs on disks that are full, at the start or later."""

import errno
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from facecls.checkpoint import read, read_plain
from facecls.config.load import load_config
from facecls.device import resolve_device
from facecls.errors import RunError
from facecls.files import free_disk, write_atomic, write_error
from facecls.run import Run
from facecls.training.disk_space import require_space
from facecls.training.state import build_state
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def limit_disk(monkeypatch: pytest.MonkeyPatch, free: Callable[[], float]) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(free())))


def test_a_run_that_does_not_fit_on_the_disk_does_not_begin(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    limit_disk(monkeypatch, lambda: 4.1e6)
    result = facecls("train", tiny(), "--out", run)
    assert result.code == 1 and "reading train" not in result.err
    problem, _, hint = result.err.rpartition("error: ")[2].partition("\n\n")
    assert problem.startswith(f"{run}: the checkpoints of a run take up to ")
    assert problem.endswith(" MB, but only 4.1 MB are free on this disk")
    assert hint == "hint: free some disk space, or name a directory on another disk with --out\n"
    assert not run.exists()


@pytest.mark.parametrize("optimizer", [{"name": "sgd"}, {"name": "sgd", "momentum": 0.0, "nesterov": False}, {"name": "adamw"}])
@pytest.mark.parametrize("ema", [0, 0.9])
def test_the_size_of_the_checkpoints_is_known_before_training(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: dict[str, object], ema: float
) -> None:
    config = load_config(tiny(model={"name": "resnet18"}, optimizer=optimizer, train={"epochs": 1, "ema": ema}))
    run = Run(tmp_path / "run")
    assert facecls("train", tmp_path / "tiny.yaml", "--out", run.folder).code == 0
    taken = run.best.stat().st_size + 2 * run.last.stat().st_size
    state = build_state(config, 4, resolve_device("cpu", "fp32"), lambda _: None)
    empty = Run(tmp_path / "empty")
    limit_disk(monkeypatch, lambda: taken + 6e6)
    require_space(empty, state, config.optimizer)
    limit_disk(monkeypatch, lambda: taken - 1e6)
    with pytest.raises(RunError):
        require_space(empty, state, config.optimizer)
    limit_disk(monkeypatch, lambda: run.last.stat().st_size + 6e6)  # a resumed run needs space for one more last.pt
    require_space(run, state, config.optimizer)


def test_training_outlasts_a_disk_that_is_full_for_a_while(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    config = tiny(train={"epochs": 6, "save_minutes": 1e-9, "patience": 6})
    plain_log, rows = Run.log, [0]

    def log(self: Run, row: object) -> None:
        rows[0] += 1
        if full():
            raise_full(self.metrics)
        plain_log(self, row)  # type: ignore[arg-type]

    def raise_full(path: Path) -> None:
        raise write_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def full() -> bool:
        return 2 <= rows[0] <= 4

    monkeypatch.setattr(Run, "log", log)
    limit_disk(monkeypatch, lambda: 0.0 if full() else 1e12)
    result = facecls("train", config, "--out", run.folder)
    assert result.code == 0
    warnings = [line for line in result.err.splitlines() if "No space left on device" in line]
    assert 1 <= len(warnings) <= 2  # reported again only if a save has succeeded since
    assert all(line.endswith("; training continues and saves when there is space") for line in warnings)
    assert [row.epoch for row in run.rows()] == list(range(6))
    assert read_plain(run.last)["training"]["epoch"] == 6
    best = max(run.rows(), key=lambda row: (row.val_accuracy, -row.val_loss))
    assert read(run.best).metrics["epoch"] == best.epoch


def test_a_disk_that_is_full_at_the_end_leaves_a_run_that_can_be_resumed(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = Run(tmp_path / "run"), tiny(train={"epochs": 3, "save_minutes": 1e-9})
    with monkeypatch.context() as patch:
        limit_disk(patch, lambda: 0.0 if run.last.exists() and run.rows() else 1e12)
        result = facecls("train", config, "--out", run.folder)
    assert result.code == 1
    problem, _, hint = result.err.rpartition("error: ")[2].partition("\n\n")
    assert problem in {f"{path}: cannot be written: No space left on device" for path in (run.best, run.last)}
    assert hint == "hint: free some disk space, then continue the run with --resume\n"
    assert facecls("train", config, "--out", run.folder, "--resume").code == 0
    assert [row.epoch for row in run.rows()] == [0, 1, 2] and read(run.best).calibration is not None


def test_a_file_system_that_does_not_tell_its_size_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    assert free_disk(tmp_path / "not" / "there") == math.inf
    write_atomic(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100, used=94, free=6))
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        write_atomic(tmp_path / "other", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
