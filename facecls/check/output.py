"""A check as a table for the terminal, as JSON and as CSV."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from facecls.check.check import CheckResult, summary_rows
from facecls.check.findings import Finding, Item
from facecls.files import prepare_output, write_atomic
from facecls.text import csv_line, printable

_MOST = 3  # items of a finding, and images of an item, in the table
_HEADER = csv_line(["kind", "severity", "item", "path", "class", "split", "note", "fix"])


def to_json(result: CheckResult) -> str:
    """A check as one JSON object; non-ASCII characters are escaped, as file names may not be valid Unicode."""
    return json.dumps(result.to_plain(), indent=2)


def print_check(result: CheckResult) -> None:
    """Prints a check as tables on stdout."""
    console = Console(highlight=False)
    summary = Table(Column(no_wrap=True), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for name, text in summary_rows(result):
        summary.add_row(name, Text(printable(text)))
    console.print(summary)
    console.print()
    if not result.audit.findings:
        console.print(f"no findings in {len(result.audit.images):,} images")
        return
    table = Table("severity", Column("finding", no_wrap=True), Column("details", overflow="fold"), box=None, pad_edge=False)
    for finding in result.audit.findings:
        details = Text("\n".join(printable(line) for line in _lines(result, finding)))
        table.add_row(finding.severity, finding.kind, details)
        table.add_row()
    console.print(table)


def _lines(result: CheckResult, finding: Finding) -> list[str]:
    lines = [finding.message, *(f"  {result.audit.images.item_text(item, _MOST)}" for item in finding.items[:_MOST])]
    if len(finding.items) > _MOST:
        lines.append(f"  and {len(finding.items) - _MOST:,} more: --html or --csv lists all")
    return [*lines, f"-> {finding.fix}"]


def check_csv_output(path: Path) -> None:
    """Raises RunError if a CSV file of findings cannot be written to `path` or would replace another kind of file."""
    prepare_output(path, "a CSV file of findings", _HEADER.encode())


def write_csv(path: Path, result: CheckResult) -> None:
    """Writes one row per image and finding; the images of one item share its number in column `item`.

    Raises RunError if the file cannot be written.
    """
    images, lines = result.audit.images, [_HEADER]
    for finding in result.audit.findings:
        for number, item in enumerate(finding.items or (Item((), finding.message),), 1):
            for row in [[*images.row(index).values()] for index in item.images] or [["", "", ""]]:
                lines.append(csv_line([finding.kind, finding.severity, number, *row, item.note, finding.fix]))
    check_csv_output(path)
    write_atomic(path, "".join(lines).encode("utf-8", "surrogateescape"))
