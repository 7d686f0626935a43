"""Predictions in a CSV file that grows: what it holds already is not named again."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from facecls.errors import RunError
from facecls.inference.predict import Prediction
from facecls.inference.rows import csv_header, csv_row


class Results:
    """A CSV file to which predictions are added, each line at once, so that stopping loses nothing."""

    def __init__(self, path: Path, top_k: int) -> None:
        """Opens the file or begins it; a last line that a crash cut short is dropped.

        Raises RunError for a file with other columns, and where it cannot be read or written.
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
            if not rows:
                path.write_bytes(begun)
            elif end < len(held):
                os.truncate(path, end)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}", hint="name another with --output") from None
        self.paths = {row[0] for row in rows[1:] if row}
        self.unread = sum(bool(row and row[-1]) for row in rows[1:])  # the last column is the error

    def added(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Passes predictions on once they stand in the file."""
        with self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape", buffering=1) as file:
            writer = csv.writer(file, lineterminator="\n")
            for prediction in predictions:
                writer.writerow(csv_row(prediction, self.top_k))
                self.paths.add(prediction.path)
                yield prediction
