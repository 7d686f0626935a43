"""A run's folder: the names of its files, its metrics, and the environment it ran in."""

import contextlib
import glob
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from facecls import __version__
from facecls.config.yaml import to_yaml
from facecls.errors import RunError
from facecls.files import write_atomic, write_error

RUNS = Path("runs")

_VERSIONS = ("torch", "torchvision", "pillow", "numpy", "pydantic")


@dataclass(frozen=True)
class Run:
    """One training's folder; the properties name its files."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def split(self) -> Path:
        return self.folder / "split.csv"

    @property
    def kept_split(self) -> Path | None:
        """split.csv, if it is there."""
        return self.split.absolute() if self.split.exists() else None

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def environment(self) -> Path:
        return self.folder / "environment.json"

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @property
    def begun(self) -> bool:
        """Whether a training has left something here to go on with or to use."""
        return any(path.exists() for path in (self.last, self.best, self.metrics))

    def open(self) -> bool:
        """Makes the folder if it is not there yet, and says whether it did.

        Raises RunError where that cannot be, or where the folder cannot be written to.
        """
        there = self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise RunError(f"{self.folder}: is a file, not a run folder", hint="name another with --out") from None
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be made: {error.strerror}", hint="name another with --out") from None
        if not os.access(self.folder, os.W_OK):
            raise RunError(f"{self.folder}: cannot be written to", hint="name another with --out")
        return not there

    def lock(self) -> filelock.BaseFileLock:
        """Holds the folder for this process until it ends; raises RunError where another one holds it or none can."""
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunError(f"{self.folder}: another process trains in this folder", hint="name another with --out") from None
        except (OSError, NotImplementedError) as error:
            said = getattr(error, "strerror", None) or "its file system has no locks"
            raise RunError(
                f"{self.folder}: cannot be locked against other processes: {said}",
                hint="some network file systems have no locks: name a folder on another disk with --out",
            ) from error
        for path in self.folder.glob(".*.*"):
            if path.suffix[1:].isdigit():  # what a process that was killed had not written to its end
                path.unlink(missing_ok=True)
        return lock

    def leave_if_empty(self) -> None:
        """Takes the folder away again if there is nothing in it but the lock, which this process holds."""
        with contextlib.suppress(OSError):
            if [path.name for path in self.folder.iterdir()] == [".lock"]:
                (self.folder / ".lock").unlink()
                self.folder.rmdir()

    def log(self, row: Mapping[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise write_error(self.metrics, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """The whole lines of metrics.jsonl; one that a crash cut short is left out."""
        if not self.metrics.exists():
            return []
        whole, _, _ = self.metrics.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def forget_rows_from(self, epoch: int) -> None:
        """Drops the lines of epochs that a resumed run goes through again."""
        if self.metrics.exists():
            text = "".join(json.dumps(row) + "\n" for row in self.rows() if row["epoch"] < epoch)
            write_atomic(self.metrics, text.encode())

    def amend_row(self, row: Mapping[str, Any]) -> None:
        """Puts `row` in the place of the line of its epoch."""
        text = "".join(json.dumps(row if old["epoch"] == row["epoch"] else old) + "\n" for old in self.rows())
        write_atomic(self.metrics, text.encode())

    def write_config(self, plain: Mapping[str, Any]) -> None:
        """Writes the resolved config, loadable as it is."""
        write_atomic(self.config, to_yaml(plain).encode())

    def write_environment(self, **more: Any) -> None:
        """Writes what the run's figures depend on and its config does not say."""
        known = {"facecls": __version__, **{name: metadata.version(name) for name in _VERSIONS}}
        machine = {"python": platform.python_version(), "platform": platform.platform(), "processor": processor()}
        text = json.dumps({"command": sys.argv, "versions": known, **machine, **more}, indent=2)
        write_atomic(self.environment, text.encode())


class ReadOnlyRun(Run):
    """The run folder in a process that only looks on: another process of its team writes the files."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Left to the writing process."""

    def forget_rows_from(self, epoch: int) -> None:
        """Left to the writing process."""


def new_run(out: Path | None, config: Path) -> Run:
    """`out`, or a folder under `runs/` that is named after the config and the time."""
    return Run(out or RUNS / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}")


def newest_run(config: Path, runs: Path = RUNS, holding: str = "last.pt") -> Run:
    """The newest run that was named after the config and holds something; raises RunError where there is none."""
    # `*` in the place of the time would also find the runs of a config that is called NAME-more.
    named = f"{glob.escape(config.stem)}-{'[0-9]' * 8}-{'[0-9]' * 6}"
    found = sorted(runs.glob(f"{named}/{holding}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError(
            f"there is no run in {runs}/{config.stem}-DATE-TIME to go on with", hint="name its folder: --resume --out runs/NAME"
        )
    return Run(found[-1].parent)


def run_of(checkpoint: Path) -> Run:
    """The folder that a checkpoint lies in; `checkpoint` may be the folder itself."""
    return Run(checkpoint if checkpoint.is_dir() else checkpoint.parent)


def newest_best(runs: Path = RUNS) -> Path:
    """The best.pt of the newest run; raises RunError where there is none."""
    found = sorted(runs.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError(f"no checkpoint is named and there is none in {runs}/*/best.pt", hint="name one with --checkpoint")
    return found[-1]


def hash_of(lines: Iterable[str]) -> str:
    """A short name for a list of files: the same list, the same hash."""
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


def processor() -> str:
    """The processor's name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
