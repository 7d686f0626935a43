"""Compares run directories: state, figures, conditions, and the config keys in which they differ."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rich.table import Column, Table

from facecls.config.schema import flatten
from facecls.config.yaml import read_document
from facecls.errors import RunError
from facecls.evaluation.console import console
from facecls.evaluation.intervals import wilson_interval
from facecls.run import EpochMetrics, Run
from facecls.text import csv_line, duration, printable

State: TypeAlias = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True, repr=False)
class RunSummary:
    """One run; figures are those of the best epoch, None where there are none yet."""

    name: str
    state: State
    epochs: int
    best: EpochMetrics | None
    n: int  # validation images
    seconds: float | None  # of training
    environment: dict[str, Any]
    config: dict[str, Any]  # dotted keys
    folder: Path

    def __repr__(self) -> str:
        accuracy = "" if self.best is None else f", accuracy {self.best.val_accuracy:.1%}"
        return f"<Run {self.folder}: {self.state}{accuracy}>"

    @property
    def epochs_text(self) -> str:
        """The number of epochs, of those planned if training stopped before."""
        planned = self.config.get("train.epochs", self.epochs)
        return str(self.epochs) if planned == self.epochs else f"{self.epochs} of {planned}"

    def to_plain(self, differing: Sequence[str]) -> dict[str, Any]:
        """Plain values for JSON, with the config keys `differing`."""
        best = self.best
        interval = None if best is None or not self.n else wilson_interval(round(best.val_accuracy * self.n), self.n)
        return {
            "name": self.name,
            "state": self.state,
            "epochs": self.epochs,
            "val_accuracy": best and best.val_accuracy,
            "val_accuracy_interval": interval,
            "n": self.n,
            "val_macro_f1": best and best.val_macro_f1,
            "val_ece_calibrated": best and best.val_ece_calibrated,
            "val_identification_rate": best and best.val_identification_rate,
            "seconds": self.seconds,
            "device": self.environment.get("device"),
            "git_commit": self.environment.get("git_commit"),
            "config": {key: self.config.get(key) for key in differing},
        }


def read_runs(folders: Sequence[Path]) -> list[RunSummary]:
    """The runs in folders and their subfolders, by path; below a single folder they are named by the path in it.

    Raises RunError if a folder has none, or one cannot be read.
    """
    summaries = []
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"{folder}: no such folder", hint="name run directories, or folders that hold them")
        runs = [run for path in sorted(folder.rglob("environment.json")) if (run := Run(path.parent)).config.exists()]
        if not runs:
            raise RunError(f"{folder}: holds no runs", hint="name run directories, or folders that hold them")
        below = len(folders) == 1 and runs[0].folder != folder
        summaries += [summarise_run(run, str(run.folder.relative_to(folder) if below else run.folder)) for run in runs]
    return summaries


def summarise_run(run: Run, name: str) -> RunSummary:
    rows = run.rows()
    calibrated = [row for row in rows if row.val_ece is not None]
    state: State = "finished" if calibrated else "interrupted" if run.last.exists() else "failed"
    if run.locked:
        state = "running"
    best = calibrated[-1] if calibrated else max(rows, key=lambda row: (row.image_size, row.val_accuracy), default=None)
    environment = json.loads(run.environment.read_text(encoding="utf-8"))
    config = flatten(read_document(run.config).values)
    if run.python_labels.exists():  # each run of images given in Python has its own copy
        config |= dict.fromkeys(("data.root", "data.csv"), "given in Python")
    return RunSummary(
        name, state, len(rows), best, _validated(run), rows[-1].seconds if rows else None, environment, config, run.folder
    )


def _validated(run: Run) -> int:
    if not run.split.exists():
        return 0
    with run.split.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return sum(row["split"] == "val" for row in csv.DictReader(file))


def sort_runs(runs: Sequence[RunSummary], key: str) -> list[RunSummary]:
    """The runs by a figure of `RunSummary.to_plain`, the best or the shortest time first, missing ones last; or by `name`."""
    lowest_first = key in ("seconds", "val_ece_calibrated")

    def rank(run: RunSummary) -> tuple[bool, float]:
        value = run.to_plain(())[key]
        return value is None, 0.0 if value is None else value if lowest_first else -value

    return list(runs) if key == "name" else sorted(runs, key=rank)


def differing_keys(runs: Sequence[RunSummary]) -> list[str]:
    """The config keys that do not have the same value in all runs, but for those without an effect on the result."""
    keys = sorted({key for run in runs for key in run.config} - {"train.tracker", "train.save_minutes"})
    return [key for key in keys if len({repr(run.config.get(key)) for run in runs}) > 1]


def runs_to_csv(runs: Sequence[RunSummary]) -> str:
    """A line per run."""
    differing = differing_keys(runs)
    plain = [run.to_plain(differing) for run in runs]
    names = [name for name in plain[0] if name not in ("config", "val_accuracy_interval")]
    lines = [csv_line([*names, *differing])]
    return "".join(lines + [csv_line([*(each[name] for name in names), *each["config"].values()]) for each in plain])


def print_runs(runs: Sequence[RunSummary]) -> None:
    """A table on stdout and the differences; figures are marked, as the best epoch is selected on the validation images."""
    figures = ["accuracy*", "95 % CI", "macro F1*", "ECE*", "DIR*", "epochs", "time"]
    columns = [Column(name, justify="right") for name in figures]
    table = Table("run", "state", *columns, "device", box=None, pad_edge=False)
    for run in runs:
        plain = run.to_plain(())
        low, high = plain["val_accuracy_interval"] or (None, None)
        table.add_row(
            printable(run.name),
            run.state,
            _percent(plain["val_accuracy"]),
            "-" if low is None else f"{_percent(low)} to {_percent(high)}",
            _percent(plain["val_macro_f1"]),
            "-" if plain["val_ece_calibrated"] is None else f"{plain['val_ece_calibrated']:.3f}",
            _percent(plain["val_identification_rate"]),
            run.epochs_text,
            "-" if run.seconds is None else duration(run.seconds),
            str(plain["device"]),
        )
    out = console()
    out.print(table)
    out.print("* of the epoch that is kept, on the validation images: optimistic if it was selected or calibrated on them")
    if differing := differing_keys(runs):
        out.print()
        for run in runs:
            values = ", ".join(f"{key}={run.config.get(key)}" for key in differing)
            out.print(printable(f"{run.name}: {values}"))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
