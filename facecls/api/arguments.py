"""Arguments of the public API: images given in Python, and what stands for a run."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from facecls.data.python_data import LabelledImages, write_images
from facecls.errors import DataError
from facecls.progress import Reporter

_HINT = "images are pairs of image and label, or a data frame with the columns path and label, and if needed split and group"


@runtime_checkable
class HasFolder(Protocol):
    """A TrainedRun, or a run that `runs` lists."""

    @property
    def folder(self) -> Path: ...


RunPath: TypeAlias = str | Path | HasFolder
"""A run directory or a checkpoint file, by its path or as what `train` and `runs` return."""


def path_of(run: RunPath) -> Path:
    """The path of a run or a checkpoint."""
    return Path(run) if isinstance(run, str | Path) else run.folder


@contextlib.contextmanager
def as_path(data: str | Path | LabelledImages | None, progress: Reporter) -> Iterator[Path | None]:
    """In a `with`: the path of a folder or label file; images given in Python as a label file in a temporary folder."""
    if data is None or isinstance(data, str | Path):
        yield None if data is None else Path(data)
        return
    with tempfile.TemporaryDirectory(prefix="facecls-", ignore_cleanup_errors=True) as folder:
        table = Path(folder) / "labels.csv"
        with naming_items(table):
            write_images(data, table, progress)
            yield table


@contextlib.contextmanager
def naming_items(table: Path) -> Iterator[None]:
    """In a `with`: errors about the lines of the label file `table` are about the items of the images given instead."""
    try:
        yield
    except DataError as error:
        if not any(str(table) in problem for problem in error.problems):
            raise
        line = re.compile(re.escape(str(table)) + r":(\d+)")
        problems = [line.sub(lambda found: f"data[{int(found[1]) - 2}]", problem) for problem in error.problems]
        raise DataError(*(problem.replace(str(table), "data") for problem in problems), hint=_HINT) from error
