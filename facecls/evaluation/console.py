"""The console that tables are printed on."""

import os

from rich.console import Console

UNBOUNDED = 10_000  # console width that wraps no line


def console() -> Console:
    """A console as wide as the terminal or COLUMNS; without either, lines are not wrapped."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = UNBOUNDED
    return made
