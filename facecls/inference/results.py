"""Predictions in a CSV file that grows: what it holds already is not named again."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path

from facecls.errors import RunError
from facecls.inference.predict import Prediction
from facecls.inference.rows import csv_header, csv_row

_NEAREST = csv_header(top_k=1).index("nearest")


class Results:
    """A CSV file to which predictions are added, each line at once, so that stopping loses nothing."""

    def __init__(self, path: Path, top_k: int, classes: Sequence[str]) -> None:
        """Opens the file or begins it; a last line that a crash cut short is dropped.

        Raises RunError for a file with other columns or with names that are not among `classes`, and where it cannot be read
        or written.
        """
        self.path = path
        self.top_k = top_k
        header = csv_header(top_k)
        try:
            held = path.read_bytes() if path.exists() else b""
            end = held.rfind(b"\n") + 1
            try:
                rows = list(csv.reader(io.StringIO(held[:end].decode("utf-8", "surrogateescape"))))
            except csv.Error:
                rows = [[""]]
            begun = f"{','.join(header)}\n".encode()
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
        self.paths = {row[0] for row in rows[1:] if row}
        self.unread = sum(bool(row and row[-1]) for row in rows[1:])  # the last column is the error

    def added(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Passes predictions on once they stand in the file. Raises RunError where no more can be written."""
        with self._opened() as file:
            for prediction in predictions:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerow(csv_row(prediction, self.top_k))
                line = text.getvalue().encode("utf-8", "surrogateescape")
                try:
                    while line:  # of a disk that is nearly full, a part is taken first
                        line = line[file.write(line) :]
                except OSError as error:
                    raise self._refused(error) from None
                self.paths.add(prediction.path)
                yield prediction

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.path, "a")  # without a buffer: each line is a write of its own
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: cannot be written: {error.strerror}", hint="name another with --output")
