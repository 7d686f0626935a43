"""Predictions in a CSV file that grows: what it holds already is not named again."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, Literal, TextIO

from facecls.config.schema import UNKNOWN
from facecls.errors import RunError
from facecls.inference.predict import Prediction
from facecls.text import csv_line, printable

RowFormat = Literal["table", "json", "jsonl", "csv"]


def write_predictions(predictions: Iterable[Prediction], form: RowFormat, top_k: int, file: TextIO) -> None:
    """Writes a row per image as it comes.

    JSON has letters beyond ASCII escaped, as file names may hold what no encoding has.
    """
    {"table": _table, "json": _json, "jsonl": _jsonl, "csv": _csv}[form](predictions, top_k, file)


def _plain(prediction: Prediction) -> dict[str, Any]:
    return asdict(prediction) | {"top": [list(pair) for pair in prediction.top]}


def _json(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:  # noqa: ARG001 -- called like the others
    print(json.dumps([_plain(prediction) for prediction in predictions], indent=2), file=file)


def _jsonl(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:  # noqa: ARG001 -- called like the others
    for prediction in predictions:
        print(json.dumps(_plain(prediction)), file=file, flush=True)


def csv_header(top_k: int) -> list[str]:
    """The columns of a CSV file."""
    further = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("label", "probability")]
    return ["path", "label", "probability", "nearest", *further, "error"]


def csv_row(prediction: Prediction, top_k: int) -> list[Any]:
    """A prediction in those columns."""
    rest = [value for pair in prediction.top[1:] for value in pair]
    blank = [None] * (2 * (top_k - 1) - len(rest))
    return [prediction.path, prediction.label, prediction.probability, prediction.nearest, *rest, *blank, prediction.error]


def _csv(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:
    file.write(csv_line(csv_header(top_k)))
    for prediction in predictions:
        file.write(csv_line(csv_row(prediction, top_k)))
        file.flush()


def _table(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:  # noqa: ARG001 -- called like the others
    for prediction in predictions:
        said = prediction.error or "   ".join(f"{label} {probability:.1%}" for label, probability in prediction.top)
        if prediction.known is False:
            said = f"{UNKNOWN}, nearest {said}"
        print(printable(f"{prediction.path}: {said}"), file=file, flush=True)


_NEAREST = csv_header(top_k=1).index("nearest")


class PredictionFile:
    """A CSV file to which predictions are added, each line at once, so that stopping loses nothing."""

    def __init__(self, path: Path, top_k: int, classes: Sequence[str]) -> None:
        """Opens the file or begins it; a last row that a crash cut short is dropped.

        Raises RunError for a file with other columns or with names that are not among `classes`, and where it cannot be read
        or written.
        """
        self.path = path
        self.top_k = top_k
        header = csv_header(top_k)
        try:
            held = path.read_bytes() if path.exists() else b""
            try:
                rows, end = _whole_rows(held)
            except csv.Error:
                rows, end = [[""]], 0
            begun = csv_line(header).encode()
            if rows[0] != header if rows else not begun.startswith(held):
                raise RunError(
                    f"{path}: holds something else than these predictions would be",
                    hint=f"its first line should be {','.join(header)}: name another with --output",
                )
            strange = {row[_NEAREST] for row in rows[1:] if len(row) > _NEAREST} - {"", *classes}
            if strange:
                raise RunError(
                    f"{path}: holds the names of another classifier: `{min(strange)}` is not a class of this one",
                    hint="name another with --output, or the checkpoint that began it with --checkpoint",
                )
            if not rows:
                path.write_bytes(begun)
            elif end < len(held):
                os.truncate(path, end)
        except OSError as error:
            raise self._refused(error) from None
        self.paths: set[str] = set()  # of the images that have been named
        self._unread: dict[str, str] = {}  # images that could not be read, and why
        self.added_rows = 0
        for row in filter(None, rows[1:]):
            self._hold(row[0], row[-1])  # the last column is the error

    @property
    def count(self) -> int:
        """How many images the file holds."""
        return len(self.paths) + len(self._unread)

    def added(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Passes predictions on once they stand in the file; the last row of an image is the one that counts.

        One that cannot be read for the reason that its row gives already gets no other. Raises RunError where no more can be
        written.
        """
        with self._opened() as file:
            for prediction in predictions:
                if prediction.error is None or prediction.error != self._unread.get(prediction.path):
                    self._write(file, csv_line(csv_row(prediction, self.top_k)))
                    self._hold(prediction.path, prediction.error)
                    self.added_rows += 1
                yield prediction

    def _write(self, file: FileIO, line: str) -> None:
        left = line.encode("utf-8", "surrogateescape")
        try:
            while left:  # of a disk that is nearly full, a part is taken first
                left = left[file.write(left) :]
        except OSError as error:
            raise self._refused(error) from None

    def _hold(self, path: str, error: str | None) -> None:
        """Takes an image's last row into account: it is named, or can be tried again."""
        if error:
            self._unread[path] = error
            self.paths.discard(path)
        else:
            self.paths.add(path)
            self._unread.pop(path, None)

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.path, "a")  # without a buffer: each line is a write of its own
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: cannot be written: {error.strerror}", hint="name another with --output")


def _whole_rows(held: bytes) -> tuple[list[list[str]], int]:
    """The rows that stand whole in a file, and how many bytes they take; raises csv.Error for what is no CSV.

    A name may hold line ends, so only a reader of CSV can tell where a row ends.
    """
    rows, end, read = [], 0, 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in io.BytesIO(held):
            read += len(line)
            yield line.decode("utf-8", "surrogateescape")

    try:
        for row in csv.reader(lines(), strict=True):
            if held[read - 1] == ord("\n"):
                rows.append(row)
                end = read
    except csv.Error:
        if read < len(held):
            raise
    return rows, end
