"""The command about finished and unfinished trainings: runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Key = Literal["name", "val_accuracy", "val_macro_f1", "val_ece_calibrated", "val_identification_rate", "seconds"]


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Run directories, or folders of them, also in subfolders; default: runs.")
    ] = None,
    format_: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="Output format.")] = "table",
    sort: Annotated[Key, typer.Option(help="Figure to sort by, the best first.")] = "name",
) -> None:
    """List runs: state, figures, conditions, and the config keys in which they differ."""
    import json

    from facecls.api.runs import runs as list_runs
    from facecls.evaluation.run_table import differing_keys, print_runs, runs_to_csv, sort_runs

    found = sort_runs(list_runs(folders or [Path("runs")]), sort)
    if format_ == "json":
        differing = differing_keys(found)
        print(json.dumps([run.to_plain(differing) for run in found], indent=2))
    elif format_ == "csv":
        print(runs_to_csv(found), end="")
    else:
        print_runs(found)
