"""The commands that train: train, cross-validate."""

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Set


def train(
    config: Annotated[Path, typer.Argument(help="The YAML file.")],
    set_: Set = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/CONFIG-DATE-TIME.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from last.pt in the run folder; without --out in the newest of this config.")
    ] = False,
) -> None:
    """Train a classifier; writes a run folder with best.pt in it."""
    from facecls.config.load import load_config
    from facecls.progress import Progress
    from facecls.run import new_run, newest_run

    settings = load_config(config, set_ or ())
    run = newest_run(config) if resume and out is None else new_run(out, config)

    from facecls.training.signals import Interrupted
    from facecls.training.train import train as train_run

    progress = Progress()
    try:
        result = train_run(settings, run, progress, resume=resume)
    except (Interrupted, KeyboardInterrupt) as stopped:
        if run.last.exists() and os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first one speaks
            words = ["facecls", "train", str(config), *(word for text in set_ or () for word in ("--set", text))]
            progress.note(f"\nstopped, and saved in {run.last}; this goes on:\n")
            progress.note(f"    {shlex.join([*words, '--out', str(run.folder), '--resume'])}")
        raise typer.Exit(128 + getattr(stopped, "signal", signal.SIGINT)) from None
    if result is None:  # the team's first process speaks
        return
    best = result.best
    if result.stopped:
        progress.note(f"ended early: {result.stopped}")
    progress.note(
        f"best: epoch {best.epoch + 1}, accuracy {best.val_accuracy:.1%}, macro F1 {best.val_macro_f1:.1%}, "
        f"after {best.seconds:.0f} s"
    )
    print(run.best)


def cross_validate(
    config: Annotated[Path, typer.Argument(help="The YAML file.")],
    folds: Annotated[int, typer.Option(min=2, help="So many trainings, each scored on another part of the images.")] = 5,
    set_: Set = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the folds' runs; default runs/CONFIG-DATE-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on at the fold and step where it was.")] = False,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
) -> None:
    """Train on every fold of small data, and say how good and how steady the recipe is."""
    import json

    from facecls.config.load import load_config
    from facecls.progress import Progress
    from facecls.run import new_run, newest_run

    settings = load_config(config, set_ or ())
    folder = (newest_run(config, holding="fold-1") if resume and out is None else new_run(out, config)).folder

    from facecls.device import resolve_device
    from facecls.evaluation.cross_validation import evaluate_folds
    from facecls.evaluation.tables import print_folds, print_scores
    from facecls.report.cross_validation import render_cross_validation
    from facecls.report.page import check_page_output, write_page
    from facecls.training.cross_validation import train_folds
    from facecls.training.signals import Interrupted

    progress, device = Progress(epochs=sys.stderr), resolve_device(settings.device, settings.precision)
    path = folder / "report.html"
    if path.exists():
        check_page_output(path)  # before the work
    try:
        validation = evaluate_folds(train_folds(settings, folds, folder, progress, resume=resume), device, progress)
    except (Interrupted, KeyboardInterrupt) as stopped:
        if folder.exists():
            words = ["facecls", "cross-validate", str(config), "--folds", str(folds)]
            words += [word for text in set_ or () for word in ("--set", text)]
            progress.note(f"\nstopped, and saved in {folder}; this goes on:\n")
            progress.note(f"    {shlex.join([*words, '--out', str(folder), '--resume'])}")
        raise typer.Exit(128 + getattr(stopped, "signal", signal.SIGINT)) from None
    write_page(path, render_cross_validation(validation, settings, device, folder.resolve().name))
    if format_ == "json":
        print(json.dumps(validation.to_plain() | {"report": str(path)}, indent=2))
        return
    print_folds(validation)
    print()
    print_scores(validation.pooled)
    print()
    print(path)
