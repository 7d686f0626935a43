"""A check as a table for people, and as JSON and CSV for programs."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from facecls.check.check import CheckResult, facts, relative
from facecls.check.findings import Finding, Item
from facecls.files import prepare_output, write_atomic
from facecls.text import csv_line, printable

_EXAMPLES = 3  # of a finding in the table
_HEADER = csv_line(["kind", "grave", "item", "path", "class", "split", "note", "fix"])


def to_json(result: CheckResult) -> str:
    """A check as one JSON object; letters beyond ASCII are escaped, as file names may hold what no encoding has."""
    return json.dumps(result.to_plain(), indent=2)


def print_check(result: CheckResult) -> None:
    """A check as tables on stdout."""
    console = Console(highlight=False)
    head = Table(Column(no_wrap=True), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for name, words in facts(result):
        head.add_row(name, Text(printable(words)))
    console.print(head)
    console.print()
    findings = result.audit.findings
    if not findings:
        console.print(f"nothing found in {len(result.audit.images):,} images")
        return
    table = Table(
        "", Column("finding", no_wrap=True), Column("what, where, and what to do", overflow="fold"), box=None, pad_edge=False
    )
    for finding in findings:
        said = Text("\n".join(printable(line) for line in _lines(result, finding)))
        table.add_row("grave" if finding.grave else "", finding.kind, said)
        table.add_row()
    console.print(table)


def _lines(result: CheckResult, finding: Finding) -> list[str]:
    shown = [f"  {_words(result, item)}" for item in finding.items[:_EXAMPLES]]
    rest = len(finding.items) - len(shown)
    return [finding.message, *shown, *([f"  and {rest} more: --html or --csv lists all"] if rest else []), f"-> {finding.fix}"]


def _words(result: CheckResult, item: Item) -> str:
    images = result.audit.images
    some = [relative(images.paths[number], result.config.data.root) for number in item.images[:_EXAMPLES]]
    rest = len(item.images) - len(some)
    paths = ", ".join(some) + (f" and {rest} more" if rest else "")
    return f"{paths} ({item.note})" if paths and item.note else paths or item.note


def check_csv_output(path: Path) -> None:
    """Raises RunError where a CSV file of findings would be written over something else, before time is spent on them."""
    prepare_output(path, "a CSV file of findings", _HEADER.encode())


def write_csv(path: Path, result: CheckResult) -> None:
    """Writes a row per image of every finding; images that belong together have the same number in `item`.

    Raises RunError where the file cannot be written.
    """
    images, lines = result.audit.images, [_HEADER]
    for finding in result.audit.findings:
        for number, item in enumerate(finding.items or (Item((), finding.message),), 1):
            start = [finding.kind, "yes" if finding.grave else "no", number]
            for each in item.images:
                where = [images.paths[each], images.class_of(each), images.split_of(each)]
                lines.append(csv_line([*start, *where, item.note, finding.fix]))
            if not item.images:
                lines.append(csv_line([*start, "", "", "", item.note, finding.fix]))
    check_csv_output(path)
    write_atomic(path, "".join(lines).encode("utf-8", "surrogateescape"))
