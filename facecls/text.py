"""Names in text: spelled out where they cannot be printed, quoted where they stand in CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any


def printable(text: str) -> str:
    """The text with its control characters, and what is no letter of any encoding, spelled out."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode() for letter in text
    )


def csv_line(values: Sequence[Any]) -> str:
    r"""Values as a line of a CSV file, which ends with `\n`.

    A writer quotes the letters of its own line end only, so it is given both: a file's name may hold either.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `12,345 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
