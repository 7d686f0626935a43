"""A run directory: its files, the metrics of its epochs, its lock, and the environment it ran in."""

import contextlib
import glob
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from facecls import __version__
from facecls.config.yaml import to_yaml
from facecls.errors import RunError
from facecls.files import lock_folder, write_atomic, write_error
from facecls.processor import processor

RUNS = Path("runs")

_VERSIONS = ("torch", "torchvision", "pillow", "numpy", "pydantic")


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch, a line of metrics.jsonl; shares and accuracies in [0, 1]."""

    epoch: int  # from 0
    step: int  # optimizer steps since the start of training
    image_size: int  # pixels
    lr: float  # of the last step
    train_loss: float  # on augmented images
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    images_per_second: float
    data_wait: float  # share of the training time blocked on the data loader
    seconds: float  # since the start of training
    val_ece: float | None = None  # of the best epoch, before calibration
    val_ece_calibrated: float | None = None
    val_identification_rate: float | None = None  # DIR of the best epoch at the rejection threshold, if there is one
    non_finite: Sequence[str] = ()  # the metrics that are NaN or infinite; None where they are read, as JSON has neither

    def __post_init__(self) -> None:
        values = {name: math.nan if name in self.non_finite and value is None else value for name, value in vars(self).items()}
        values["non_finite"] = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        vars(self).update(values)

    def to_plain(self) -> dict[str, Any]:
        """The metrics that were measured, as JSON values."""
        plain = {name: value for name, value in vars(self).items() if value not in (None, [])}
        return plain | dict.fromkeys(self.non_finite)


@dataclass
class Run:
    """A run directory and the paths of its files."""

    folder: Path

    def __post_init__(self) -> None:
        self.config = self.folder / "config.yaml"
        self.split = self.folder / "split.csv"
        self.metrics = self.folder / "metrics.jsonl"
        self.environment = self.folder / "environment.json"
        self.best = self.folder / "best.pt"
        self.last = self.folder / "last.pt"
        self.python_labels = self.folder / "data" / "labels.csv"  # of images given in Python

    @property
    def kept_split(self) -> Path | None:
        """The absolute path of split.csv, or None if there is none."""
        return self.split.absolute() if self.split.exists() else None

    @property
    def begun(self) -> bool:
        """Whether the directory holds a checkpoint or metrics."""
        return any(path.exists() for path in (self.last, self.best, self.metrics))

    def open(self) -> bool:
        """Creates the directory; returns whether it is new. Raises RunError if it cannot be created or is not writable."""
        exists = self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            problem = "" if os.access(self.folder, os.W_OK) else "is not writable"
        except FileExistsError:
            problem = "is a file, not a run directory"
        except OSError as error:
            problem = f"cannot be created: {error.strerror}"
        if problem:
            raise RunError(f"{self.folder}: {problem}", hint="name another with --out")
        return not exists

    def lock(self) -> filelock.BaseFileLock:
        """Locks the directory until this process ends. Raises RunError if another process holds it or it cannot be locked."""
        lock = lock_folder(self.folder, "trains in", "with --out")
        for own in (self.config, self.split, self.metrics, self.environment, self.best, self.last):
            for path in self.folder.glob(f".{own.name}.*"):
                if path.suffix[1:].isdigit():  # the temporary file of a killed process
                    path.unlink(missing_ok=True)
        return lock

    @property
    def locked(self) -> bool:
        """Whether a process trains in the directory."""
        if not (self.folder / ".lock").exists():
            return False
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return True
        except (OSError, NotImplementedError):  # a directory that may only be read
            return False
        lock.release()
        return False

    def remove_if_empty(self) -> None:
        """Removes the directory if it contains only the lock file; this process must hold the lock."""
        with contextlib.suppress(OSError):
            if [path.name for path in self.folder.iterdir()] == [".lock"]:
                (self.folder / ".lock").unlink()
                self.folder.rmdir()

    def log(self, row: EpochMetrics) -> None:
        """Appends a line to metrics.jsonl; raises RunError, and leaves the file as it was, if it cannot be written."""
        size = self.metrics.stat().st_size if self.metrics.exists() else 0
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.metrics, size)
            raise write_error(self.metrics, error) from error

    def rows(self) -> list[EpochMetrics]:
        """The lines of metrics.jsonl; an incomplete last line is left out. Raises RunError for one of another version."""
        if not self.metrics.exists():
            return []
        complete, _, _ = self.metrics.read_text(encoding="utf-8").rpartition("\n")
        try:
            return [EpochMetrics(**json.loads(line)) for line in complete.splitlines()]
        except (TypeError, ValueError) as error:
            raise RunError(
                f"{self.metrics}: was not written by this version of facecls: {error}",
                hint="use the version of facecls that wrote it, or train again",
            ) from None

    def truncate_rows(self, epoch: int) -> None:
        """Removes the lines of `epoch` and later ones, which a resumed run writes again."""
        if self.metrics.exists():
            self._write_rows(row for row in self.rows() if row.epoch < epoch)

    def amend_row(self, row: EpochMetrics) -> None:
        """Replaces the line of the same epoch."""
        self._write_rows(row if old.epoch == row.epoch else old for old in self.rows())

    def _write_rows(self, rows: Iterable[EpochMetrics]) -> None:
        write_atomic(self.metrics, "".join(map(_line, rows)).encode())

    def write_config(self, plain: Mapping[str, Any]) -> None:
        """Writes the resolved config, in the form of a config file."""
        write_atomic(self.config, to_yaml(plain).encode())

    def write_environment(self, **more: Any) -> None:
        """Writes what the results depend on besides the config: command, versions, machine and `more`."""
        versions = {"facecls": __version__, **{name: metadata.version(name) for name in _VERSIONS}}
        machine = {"python": platform.python_version(), "platform": platform.platform(), "processor": processor()}
        plain = {"command": sys.argv, "git_commit": _git_commit(), "versions": versions, **machine, **more}
        text = json.dumps(plain, indent=2)
        write_atomic(self.environment, text.encode())


def _git_commit() -> str | None:
    """The commit of the working directory's repository; None without one."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return None


def _line(row: EpochMetrics) -> str:
    return json.dumps(row.to_plain(), allow_nan=False) + "\n"


def new_run(out: Path | None, config: Path) -> Run:
    """`out`, or a directory under `runs/` named after the config and the time."""
    return Run(out or RUNS / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}")


def newest_run(config: Path, runs: Path = RUNS, holding: str = "last.pt") -> Run:
    """The config's newest run whose directory contains the file or folder `holding`. Raises RunError if there is none."""
    # `*` instead of the digits would also match the runs of a config `NAME-more.yaml`.
    named = f"{glob.escape(config.stem)}-{'[0-9]' * 8}-{'[0-9]' * 6}"
    found = sorted(runs.glob(f"{named}/{holding}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError(
            f"there is no run in {runs}/{config.stem}-DATE-TIME to resume", hint="name its directory: --resume --out runs/NAME"
        )
    return Run(found[-1].parent)


def run_of(checkpoint: Path) -> Run:
    """The run directory of a checkpoint; `checkpoint` may be the directory itself."""
    return Run(checkpoint if checkpoint.is_dir() else checkpoint.parent)


def newest_best(runs: Path = RUNS) -> Path:
    """The best.pt of the newest run. Raises RunError if there is none."""
    found = sorted(runs.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError(f"no checkpoint is named and there is none in {runs}/*/best.pt", hint="name one with --checkpoint")
    return found[-1]


def hash_of(lines: Iterable[str]) -> str:
    """A 128-bit hash of a list of lines, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()
