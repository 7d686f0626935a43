"""Text for people: counts, name lists, byte sizes, durations, unprintable characters and CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def plural(count: int, noun: str) -> str:
    """`1 image`, `12,345 images`, `2 classes`; `noun` is singular and regular."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "tch")) else "s"
    return f"{count:,} {noun}{ending}"


def name_list(names: Iterable[str], most: int = 10) -> str:
    """The first `most` names in backticks, then how many more there are: "`a`, `b` and 3 more"."""
    listed = [f"`{name}`" for name in names]
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def byte_size(n: float) -> str:
    """`4.2 MB`, and `1.3 GB` from 1e9 bytes."""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """`0.31 s`, `42 s`, `3.5 min`, `2.1 h`."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes (surrogates) written as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode() for letter in text
    )


def csv_line(values: Sequence[Any]) -> str:
    r"""Values as one line of a CSV file, which ends with `\n`.

    csv quotes only the characters of its own line terminator, so it gets both: a file name may contain either.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"


def complete_csv_rows(content: bytes) -> tuple[list[list[str]], int]:
    """The complete rows of a CSV file and their length in bytes; raises csv.Error if the content is not CSV.

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
