"""The public API for run directories: list them; imports no more than that needs."""

from collections.abc import Sequence
from pathlib import Path

from facecls.evaluation.run_table import RunSummary, read_runs
from facecls.run import RUNS

__all__ = ["runs"]


def runs(folders: str | Path | Sequence[str | Path] = RUNS) -> list[RunSummary]:
    """The runs in folders and their subfolders, by path, as `facecls runs` lists them.

    `RunSummary.to_plain(keys)` has the figures and the config keys `keys` as plain values. Raises RunError if a folder holds
    no run.
    """
    listed = [folders] if isinstance(folders, str | Path) else folders
    return read_runs([Path(folder) for folder in listed])
