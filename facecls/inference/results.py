"""Predictions in a CSV file that grows: what it holds already is not named again."""

import csv
import io
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
        self.paths: set[str] = set()
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
            whole, _, rest = text.rpartition("\n")
            rows = list(csv.reader(io.StringIO(whole)))
            if rest:
                self._write(whole + "\n" if whole else "", "w")
            if not rows:
                self._write(",".join(csv_header(top_k)) + "\n", "w")
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}", hint="name another with --output") from None
        except (UnicodeError, csv.Error):
            rows = [[""]]
        if rows and rows[0] != csv_header(top_k):
            raise RunError(
                f"{path}: holds something else than these predictions would be",
                hint=f"its first line should be {','.join(csv_header(top_k))}: name another with --output",
            )
        self.paths = {row[0] for row in rows[1:] if row}

    def added(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Passes predictions on once they stand in the file."""
        with self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape", buffering=1) as file:
            writer = csv.writer(file, lineterminator="\n")
            for prediction in predictions:
                writer.writerow(csv_row(prediction, self.top_k))
                self.paths.add(prediction.path)
                yield prediction

    def _write(self, text: str, mode: str) -> None:
        with self.path.open(mode, newline="", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
