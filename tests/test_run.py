"""A run's folder: its files, its metrics, its lock."""

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import pytest

from facecls.errors import RunError
from facecls.files import atomic_file, write_atomic
from facecls.run import EpochMetrics, Run, new_run, newest_best, newest_run


def metrics(epoch: int) -> EpochMetrics:
    return EpochMetrics(epoch, 0, 32, 0.1, 1.0, 0.5, 1.0, 0.5, 0.5, 100.0, 0.0, 1.0)


def test_rows_from_an_epoch_on_are_forgotten(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for epoch in range(4):
        run.log(metrics(epoch))
    run.truncate_rows(2)
    assert [row.epoch for row in run.rows()] == [0, 1]


def test_a_line_that_a_crash_cut_short_is_forgotten(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.log(metrics(0))
    with run.metrics.open("a") as file:
        file.write('{"epoch": 1, "val_acc')
    assert [row.epoch for row in run.rows()] == [0]
    run.truncate_rows(1)
    run.log(metrics(1))
    assert [row.epoch for row in run.rows()] == [0, 1]


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_null_and_named(tmp_path: Path, value: float) -> None:
    run = Run(tmp_path)
    run.log(replace(metrics(0), train_loss=value, val_loss=value))
    run.log(metrics(1))
    run.amend_row(replace(metrics(1), val_ece=0.1))
    first, second = (json.loads(line, parse_constant=refuse) for line in run.metrics.read_text().splitlines())
    assert first["train_loss"] is first["val_loss"] is None and first["val_accuracy"] == 0.5
    assert first["non_finite"] == ["train_loss", "val_loss"] and "non_finite" not in second
    one, two = run.rows()
    assert math.isnan(one.train_loss) and math.isnan(one.val_loss) and one.to_plain() == first
    assert two == replace(metrics(1), val_ece=0.1)


def test_the_newest_best_is_found_and_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint is named and there is none in"):
        newest_best(tmp_path)
    for number, name in enumerate(["b", "a"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.pt").touch()
        os.utime(tmp_path / name / "best.pt", (number, number))
    assert newest_best(tmp_path) == tmp_path / "a" / "best.pt"


def test_the_newest_run_of_a_config_is_found_and_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        newest_run(Path("faces.yaml"), tmp_path)
    assert str(raised.value) == f"there is no run in {tmp_path}/faces-DATE-TIME to resume"
    held = ("faces-20260101-000000", "others-20260102-000000", "faces-big-20260103-000000", "faces-20260104-000000-kept")
    for number, name in enumerate(held):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.pt").touch()
        os.utime(tmp_path / name / "last.pt", (number, number))
    assert newest_run(Path("configs/faces.yaml"), tmp_path).folder == tmp_path / "faces-20260101-000000"


def test_a_new_run_is_named_after_its_config() -> None:
    assert new_run(None, Path("configs/faces.yaml")).folder.name.startswith("faces-20")
    assert new_run(Path("here"), Path("configs/faces.yaml")).folder == Path("here")


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunError) as raised:
        Run(tmp_path / "run").open()
    assert str(raised.value) == f"{tmp_path / 'run'}: is a file, not a run directory"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EDQUOT, "free some disk space"),
        (errno.EACCES, "check the write permission"),
        (errno.EROFS, "check the write permission"),
        (errno.EIO, ""),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_says_why(
    code: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.pt"
    write_atomic(path, b"old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(RunError) as raised:
        write_atomic(path, b"new")
    assert str(raised.value) == f"{path}: cannot be written: {os.strerror(code)}"
    assert raised.value.hint == hint
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_no_temporary_file_is_left_whatever_is_raised(tmp_path: Path, exception: type[BaseException]) -> None:
    with pytest.raises(exception), atomic_file(tmp_path / "best.pt") as file:
        file.write(b"half")
        raise exception
    assert list(tmp_path.iterdir()) == []


def test_a_lock_removes_only_temporary_files_of_the_run(tmp_path: Path) -> None:
    for name in (".best.pt.123", ".notes.1", ".best.pt.old"):
        (tmp_path / name).touch()
    with Run(tmp_path).lock():
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".notes.1", ".best.pt.old"}


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)), os.strerror(errno.ENOLCK)),
        (NotImplementedError("FileSystem does not appear to support flock"), "its file system has no locks"),
    ],
)
def test_a_folder_that_cannot_be_locked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, output: str
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(RunError) as raised:
        Run(tmp_path).lock()
    assert str(raised.value) == f"{tmp_path}: cannot be locked: {output}"
    assert raised.value.hint == "some network file systems have no locks: name a directory on another disk with --out"
