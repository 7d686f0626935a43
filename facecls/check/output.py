"""A check as a table for people, and as JSON and CSV for programs."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from facecls.check.check import Inspection, facts, relative
from facecls.check.findings import Finding, Item
from facecls.files import make_room_for, write_whole
from facecls.text import csv_line, printable

_EXAMPLES = 3  # of a finding in the table
_HEADER = csv_line(["kind", "grave", "item", "path", "class", "split", "note", "fix"])


def to_json(inspection: Inspection) -> str:
    """A check as one JSON object; letters beyond ASCII are escaped, as file names may hold what no encoding has."""
    return json.dumps(inspection.to_plain(), indent=2)


def print_check(inspection: Inspection) -> None:
    """A check as tables on stdout."""
    console = Console(highlight=False)
    head = Table(Column(no_wrap=True), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for name, words in facts(inspection):
        head.add_row(name, Text(printable(words)))
    console.print(head)
    console.print()
    findings = inspection.audit.findings
    if not findings:
        console.print(f"nothing found in {len(inspection.audit.pictures):,} pictures")
        return
    table = Table(
        "", Column("finding", no_wrap=True), Column("what, where, and what to do", overflow="fold"), box=None, pad_edge=False
    )
    for finding in findings:
        said = Text("\n".join(printable(line) for line in _lines(inspection, finding)))
        table.add_row("grave" if finding.grave else "", finding.kind, said)
        table.add_row()
    console.print(table)


def _lines(inspection: Inspection, finding: Finding) -> list[str]:
    shown = [f"  {_words(inspection, item)}" for item in finding.items[:_EXAMPLES]]
    rest = len(finding.items) - len(shown)
    return [finding.message, *shown, *([f"  and {rest} more: --html or --csv lists all"] if rest else []), f"-> {finding.fix}"]


def _words(inspection: Inspection, item: Item) -> str:
    pictures = inspection.audit.pictures
    some = [relative(pictures.paths[number], inspection.config.data.root) for number in item.pictures[:_EXAMPLES]]
    rest = len(item.pictures) - len(some)
    paths = ", ".join(some) + (f" and {rest} more" if rest else "")
    return f"{paths} ({item.note})" if paths and item.note else paths or item.note


def make_room_for_csv(path: Path) -> None:
    """Raises RunError where a CSV file of findings would be written over something else, before time is spent on them."""
    make_room_for(path, "CSV file of findings", _HEADER.encode())


def write_csv(path: Path, inspection: Inspection) -> None:
    """Writes a row per picture of every finding; pictures that belong together have the same number in `item`.

    Raises RunError where the file cannot be written.
    """
    pictures, lines = inspection.audit.pictures, [_HEADER]
    for finding in inspection.audit.findings:
        for number, item in enumerate(finding.items or (Item((), finding.message),), 1):
            start = [finding.kind, "yes" if finding.grave else "no", number]
            for each in item.pictures:
                where = [pictures.paths[each], pictures.class_of(each), pictures.part_of(each)]
                lines.append(csv_line([*start, *where, item.note, finding.fix]))
            if not item.pictures:
                lines.append(csv_line([*start, "", "", "", item.note, finding.fix]))
    make_room_for_csv(path)
    write_whole(path, "".join(lines).encode("utf-8", "surrogateescape"))
