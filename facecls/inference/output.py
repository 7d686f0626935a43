"""Output of predictions: rows as a table, JSON, JSON lines or CSV, and a CSV file that later calls append to."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

from facecls.config.schema import UNKNOWN
from facecls.errors import RunError
from facecls.faces.photograph import NO_FACE
from facecls.inference.classifier import Prediction
from facecls.text import complete_csv_rows, csv_line, printable

RowFormat = Literal["table", "json", "jsonl", "csv"]

_HINT = "choose another file with --output"


Predictions: TypeAlias = Iterable[list[Prediction]]  # the list of each image's predictions

_OF_FACES = ("face", "box", "turn")  # only where faces are detected


def write_predictions(
    predictions: Predictions, form: RowFormat, top_k: int, fingerprint: str, file: TextIO, *, detected: bool = False
) -> None:
    """Writes one row per face, each as soon as it is computed; `json` is one list of images, written at the end.

    `fingerprint` is the column `checkpoint` of CSV. `detected` says whether faces are detected: an image may then have several,
    and rows have the columns `face`, `box` and `turn`. Non-ASCII characters are escaped in JSON, because file names may not be
    valid Unicode.
    """
    if form == "json":
        images = [_json_image(each) if detected else to_plain(each[0], detected=False) for each in predictions]
        print(json.dumps(images, indent=2), file=file)
        return
    if form == "csv":
        file.write(csv_line(_csv_columns(top_k, detected)))
    for image in predictions:
        for prediction in image:
            if form == "csv":
                file.write(_csv_row(prediction, len(image), top_k, fingerprint, detected))
            else:
                plain = to_plain(prediction, detected=detected)
                print(json.dumps(plain) if form == "jsonl" else _table_row(prediction), file=file)
        file.flush()


def to_plain(prediction: Prediction, *, detected: bool) -> dict[str, Any]:
    """A prediction as plain values; without the keys of faces if they are not `detected`."""
    return {name: value for name, value in asdict(prediction).items() if detected or name not in _OF_FACES}


def _json_image(predictions: list[Prediction]) -> dict[str, Any]:
    rows = [to_plain(each, detected=True) for each in predictions]
    own = ("path", "error")
    faces = [{name: value for name, value in row.items() if name not in own} for row in rows if row["error"] is None]
    return {name: rows[0][name] for name in own} | {"faces": faces}


def _table_row(prediction: Prediction) -> str:
    text = prediction.error or "   ".join(f"{label} {probability:.1%}" for label, probability in prediction.top)
    rejected = f"{UNKNOWN}; if known, " if prediction.known is False else ""
    box = prediction.box
    place = "" if box is None else f" face {prediction.face} at {box[0]:.0f},{box[1]:.0f} {box[2]:.0f}x{box[3]:.0f}"
    place += f" turn {prediction.turn}" if prediction.turn else ""
    return printable(f"{prediction.path}{place}: {rejected}{text}")


def _csv_columns(top_k: int, detected: bool) -> list[str]:
    further = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("label", "probability")]
    faces = ["face", "faces", "box", "turn"] if detected else []
    return ["path", *faces, "label", "probability", "nearest", *further, "error", "checkpoint"]


def _csv_row(prediction: Prediction, faces: int, top_k: int, fingerprint: str, detected: bool) -> str:
    """One row; `faces` is the number of faces in the image, `box` its x, y, width and height with spaces between."""
    further = [value for pair in prediction.top[1:] for value in pair]
    blank = [None] * (2 * (top_k - 1) - len(further))
    box = None if prediction.box is None else " ".join(f"{value:.1f}" for value in prediction.box)
    place = [prediction.face, faces if prediction.error is None else 0, box, prediction.turn] if detected else []
    first = [prediction.path, *place, prediction.label, prediction.probability, prediction.nearest]
    return csv_line([*first, *further, *blank, prediction.error, fingerprint])


class PredictionFile:
    """A CSV file that predictions are appended to, the rows of an image in one unbuffered write, so that an interruption loses
    none.

    If an image, or a face in it, has several rows, the last one is valid.
    """

    def __init__(self, path: Path, top_k: int, fingerprint: str, *, detected: bool = False) -> None:
        """Opens or creates the file; removes an incomplete last row.

        Raises RunError if the file has other columns or rows of another `fingerprint`, or cannot be read or written.
        """
        self.path = path
        self.top_k = top_k
        self.fingerprint = fingerprint
        self.detected = detected
        self.done: set[str] = set()  # paths of the images that are classified
        self.appended = 0  # images since the file was opened
        self._errors: dict[str, str] = {}  # path to reason, of the images that could not be read
        try:
            for row in self._open():
                if not self.detected or row[1:2] == [""] or (row[1].isdigit() and row[2] == str(int(row[1]) + 1)):
                    self._count_row(row[0], row[-2])  # the last columns are `error` and `checkpoint`
        except OSError as error:
            raise self._not_written(error) from None

    def _open(self) -> list[list[str]]:
        """Returns the complete rows below the header."""
        columns = _csv_columns(self.top_k, self.detected)
        header = csv_line(columns).encode()
        content = self.path.read_bytes() if self.path.exists() else b""
        try:
            rows, end = complete_csv_rows(content)
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

    def append(self, predictions: Predictions) -> Iterator[list[Prediction]]:
        """Yields each image's predictions after their rows are written; raises RunError if they cannot be written.

        No row is added for an unreadable image whose last row has the same error.
        """
        try:
            file = FileIO(self.path, "a")
        except OSError as error:
            raise self._not_written(error) from None
        with file:
            for image in predictions:
                path, problem = image[0].path, image[0].error
                if problem is None or problem != self._errors.get(path):
                    rows = (_csv_row(each, len(image), self.top_k, self.fingerprint, self.detected) for each in image)
                    self._write(file, "".join(rows))
                    self._count_row(path, problem)
                    self.appended += 1
                yield image

    def _write(self, file: FileIO, rows: str) -> None:
        remaining = rows.encode("utf-8", "surrogateescape")
        try:
            while remaining:  # a nearly full disk accepts a part before it raises
                remaining = remaining[file.write(remaining) :]
        except OSError as error:
            raise self._not_written(error) from None

    def _count_row(self, path: str, error: str | None) -> None:
        if error and error != NO_FACE:  # an image without a face is done
            self._errors[path] = error
            self.done.discard(path)
        else:
            self.done.add(path)
            self._errors.pop(path, None)

    def _not_written(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: cannot be written: {error.strerror}", hint=_HINT)
