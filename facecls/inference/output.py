"""Output of predictions: rows as a table, JSON, JSON lines or CSV, and a CSV file that later calls append to."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Literal, TextIO

from facecls.config.schema import UNKNOWN
from facecls.errors import RunError
from facecls.inference.classifier import Prediction
from facecls.text import csv_line, printable

RowFormat = Literal["table", "json", "jsonl", "csv"]

_HINT = "choose another file with --output"


def write_predictions(predictions: Iterable[Prediction], form: RowFormat, top_k: int, fingerprint: str, file: TextIO) -> None:
    """Writes one row per image, each as soon as it is computed; `json` is one list, written at the end.

    `fingerprint` is the column `checkpoint` of CSV.
    Non-ASCII characters are escaped in JSON, because file names may not be valid Unicode.
    """
    if form == "json":
        print(json.dumps([asdict(prediction) for prediction in predictions], indent=2), file=file)
        return
    if form == "csv":
        file.write(csv_line(_csv_columns(top_k)))
    for prediction in predictions:
        if form == "csv":
            file.write(_csv_row(prediction, top_k, fingerprint))
        else:
            print(json.dumps(asdict(prediction)) if form == "jsonl" else _table_row(prediction), file=file)
        file.flush()


def _table_row(prediction: Prediction) -> str:
    text = prediction.error or "   ".join(f"{label} {probability:.1%}" for label, probability in prediction.top)
    rejected = f"{UNKNOWN}; if known, " if prediction.known is False else ""
    return printable(f"{prediction.path}: {rejected}{text}")


def _csv_columns(top_k: int) -> list[str]:
    further = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("label", "probability")]
    return ["path", "label", "probability", "nearest", *further, "error", "checkpoint"]


def _csv_row(prediction: Prediction, top_k: int, fingerprint: str) -> str:
    further = [value for pair in prediction.top[1:] for value in pair]
    blank = [None] * (2 * (top_k - 1) - len(further))
    first = [prediction.path, prediction.label, prediction.probability, prediction.nearest]
    return csv_line([*first, *further, *blank, prediction.error, fingerprint])


class PredictionFile:
    """A CSV file that predictions are appended to, each row in one unbuffered write, so that an interruption loses none.

    If an image has several rows, the last one is valid.
    """

    def __init__(self, path: Path, top_k: int, fingerprint: str) -> None:
        """Opens or creates the file; removes an incomplete last row.

        Raises RunError if the file has other columns or rows of another `fingerprint`, or cannot be read or written.
        """
        self.path = path
        self.top_k = top_k
        self.fingerprint = fingerprint
        self.done: set[str] = set()  # paths of the images that are classified
        self.appended = 0  # rows since the file was opened
        self._errors: dict[str, str] = {}  # path to reason, of the images that could not be read
        try:
            for row in self._open():
                self._count_row(row[0], row[-2])  # the last columns are `error` and `checkpoint`
        except OSError as error:
            raise self._not_written(error) from None

    def _open(self) -> list[list[str]]:
        """Returns the complete rows below the header."""
        columns = _csv_columns(self.top_k)
        header = csv_line(columns).encode()
        content = self.path.read_bytes() if self.path.exists() else b""
        try:
            rows, end = _complete_rows(content)
        except csv.Error:
            rows, end = [[""]], 0  # differs from the header, so RunError is raised below
        if rows[0] != columns if rows else not header.startswith(content):
            raise RunError(
                f"{self.path}: is not a CSV file of predictions, or has other columns",
                hint=f"its first line should be `{','.join(columns)}`; {_HINT}",
            )
        rows = rows[:1] + [row for row in rows[1:] if row]
        foreign = {row[-1] if len(row) == len(columns) else "" for row in rows[1:]} - {self.fingerprint}
        if foreign:
            raise RunError(
                f"{self.path}: holds predictions of another checkpoint or with other options: its column `checkpoint` has "
                f"`{min(foreign)}`, this one is `{self.fingerprint}`",
                hint=f"{_HINT}, or the checkpoint and options that it was written with",
            )
        if not rows:
            self.path.write_bytes(header)
        elif end < len(content):
            os.truncate(self.path, end)
        return rows[1:]

    @property
    def image_count(self) -> int:
        """Number of images in the file, classified or unreadable."""
        return len(self.done) + len(self._errors)

    def append(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yields each prediction after its row is written; raises RunError if a row cannot be written.

        No row is added for an unreadable image whose last row has the same error.
        """
        try:
            file = FileIO(self.path, "a")
        except OSError as error:
            raise self._not_written(error) from None
        with file:
            for prediction in predictions:
                if prediction.error is None or prediction.error != self._errors.get(prediction.path):
                    self._write(file, _csv_row(prediction, self.top_k, self.fingerprint))
                    self._count_row(prediction.path, prediction.error)
                    self.appended += 1
                yield prediction

    def _write(self, file: FileIO, row: str) -> None:
        remaining = row.encode("utf-8", "surrogateescape")
        try:
            while remaining:  # a nearly full disk accepts a part before it raises
                remaining = remaining[file.write(remaining) :]
        except OSError as error:
            raise self._not_written(error) from None

    def _count_row(self, path: str, error: str | None) -> None:
        if error:
            self._errors[path] = error
            self.done.discard(path)
        else:
            self.done.add(path)
            self._errors.pop(path, None)

    def _not_written(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: cannot be written: {error.strerror}", hint=_HINT)


def _complete_rows(content: bytes) -> tuple[list[list[str]], int]:
    """Returns the complete rows of a CSV file and their length in bytes; raises csv.Error if the content is not CSV.

    File names may contain line breaks, so the ends of rows are found by the CSV reader.
    """
    rows, end, read = [], 0, 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in io.BytesIO(content):
            read += len(line)
            yield line.decode("utf-8", "surrogateescape")

    try:
        for row in csv.reader(lines(), strict=True):
            if content[read - 1] == ord("\n"):
                rows.append(row)
                end = read
    except csv.Error:
        if read < len(content):  # else the last row is incomplete
            raise
    return rows, end
