"""The commands that train: train, cross-validate."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from facecls.cli.options import ConfigDevice, ConfigFile, Format, Out, Resume, Set, overrides_of


def train(config: ConfigFile, set_: Set = None, out: Out = None, resume: Resume = False, device: ConfigDevice = None) -> None:
    """Train a classifier of faces and save it as best.pt.

    Each image is one face, or with `data.faces: detect` a photograph, in which the largest face is found and aligned.
    Ctrl-C saves and prints the command that resumes. With --out, --resume starts anew if there is no last.pt.
    """
    from facecls.config.load import load_config
    from facecls.progress import Progress
    from facecls.run import new_run, newest_run
    from facecls.text import byte_size

    overrides = overrides_of(set_, device)
    settings = load_config(config, overrides)
    run = newest_run(config) if resume and out is None else new_run(out, config)

    from facecls.api.training import train as train_run
    from facecls.device import configure_process

    configure_process(settings.threads)
    progress = Progress()
    with _resumable(["train", str(config)], overrides, run.folder, run.last):
        result = train_run(settings, out=run.folder, resume=resume, progress=progress)
    if result is None:  # ranks > 0
        return
    best = result.best
    if result.stopped:
        progress.note(f"stopped early: {result.stopped}")
    progress.note(
        f"best: epoch {best.epoch + 1}, accuracy {best.val_accuracy:.1%}, macro F1 {best.val_macro_f1:.1%}, "
        f"after {best.seconds:.0f} s"
    )
    size = byte_size(run.last.stat().st_size)
    progress.note(f"{run.last} ({size}) is needed only to train for more epochs; otherwise it can be deleted")
    print(run.best)


def cross_validate(
    config: ConfigFile,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds; each is the validation split of one training.")] = 5,
    set_: Set = None,
    out: Out = None,
    resume: Resume = False,
    format_: Format = "table",
) -> None:
    """Train without each fold of the data in turn, and evaluate the last epoch's weights on it.

    Nothing is selected or fitted on the fold that is evaluated: temperature and threshold are those of the other folds. Each
    fold is a run in the run directory. Prints the figures of each fold, their mean and standard deviation, and writes them
    to report.html, summary.json and folds.csv.
    """
    import json

    from facecls.config.load import load_config
    from facecls.progress import Progress
    from facecls.run import new_run, newest_run

    settings = load_config(config, set_ or ())
    folder = (newest_run(config, holding="fold-1") if resume and out is None else new_run(out, config)).folder

    from facecls.api.training import cross_validate as validate
    from facecls.device import configure_process
    from facecls.evaluation.tables import print_evaluation, print_folds

    configure_process(settings.threads)
    progress = Progress(epochs=sys.stderr)
    command = ["cross-validate", str(config), "--folds", str(folds)]
    with _resumable(command, set_ or [], folder, folder):
        validation = validate(settings, folds=folds, out=folder, resume=resume, progress=progress)
    path = folder / "report.html"
    if format_ == "json":
        print(json.dumps(validation.to_plain() | {"report": str(path)}, indent=2))
        return
    print_folds(validation)
    print()
    print_evaluation(validation.pooled)
    print()
    print(path)


@contextmanager
def _resumable(command: list[str], overrides: list[str], out: Path, saved: Path) -> Iterator[None]:
    """Exits with 128 + the signal's number on an interrupt, and prints the command that resumes if `saved` exists."""
    from facecls.progress import Progress
    from facecls.training.signals import Interrupted

    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        if saved.exists() and os.environ.get("RANK", "0") == "0":  # under torchrun only rank 0 prints
            sets = [argument for override in overrides for argument in ("--set", override)]
            line = shlex.join(["facecls", *command, *sets, "--out", str(out), "--resume"])
            Progress().note(f"\ninterrupted; saved in {saved}. Resume with:\n\n    {line}")
        raise typer.Exit(128 + getattr(error, "signal", signal.SIGINT)) from None
