"""The commands that evaluate a checkpoint: eval, report."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from facecls.cli.options import Checkpoint, Data, Device, Format, Groups, Impostors, Precision, Split, Tta
from facecls.errors import ImageError, UsageError
from facecls.text import printable


def eval_(
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = None,
    impostors: Impostors = None,
    groups: Groups = None,
    tta: Tta = "none",
    format_: Format = "table",
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Evaluate a checkpoint on labelled images.

    With --strangers also measures how many unknown people are accepted. The exit code is 1 if an image cannot be read.
    """
    from facecls.api.evaluation import evaluate
    from facecls.api.inference import load
    from facecls.device import configure_process
    from facecls.evaluation.tables import evaluation_to_json, print_evaluation
    from facecls.progress import Progress

    configure_process(None)
    progress = Progress()
    classifier = load(checkpoint, device=device, precision=precision, tta=tta, progress=progress)
    evaluation = evaluate(classifier, data, split=split, impostors=impostors, subgroups=groups, progress=progress)
    if format_ == "json":
        print(evaluation_to_json(evaluation))
    else:
        print_evaluation(evaluation)
    _finish(evaluation.warnings, evaluation.skipped)


def report(
    checkpoints: Annotated[
        list[Path], typer.Argument(metavar="CHECKPOINT...", help="A best.pt or a run directory; several are compared.")
    ],
    data: Data = None,
    split: Split = None,
    impostors: Impostors = None,
    groups: Groups = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="HTML file; default: report.html in the run directory, comparison.html here for several."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Write an HTML report on a checkpoint, or compare several.

    Shows its accuracy, calibration, rejection of unknown people, worst mistakes and problems in its data. For several: figures,
    curves, differences of the configs, and for each pair a test on the images that both evaluated (McNemar). The exit code is 1
    if an image cannot be read.
    """
    from facecls.api.evaluation import compare, write_report
    from facecls.api.inference import load
    from facecls.device import configure_process
    from facecls.progress import Progress

    if len(checkpoints) > 1 and groups is not None:
        raise UsageError("--groups is for the report of one checkpoint", hint="leave it out, or name one checkpoint")
    configure_process(None)
    progress = Progress()
    classifiers = [load(each, device=device, precision=precision) for each in checkpoints]
    if len(classifiers) == 1:
        page = write_report(classifiers[0], output, data, split=split, impostors=impostors, subgroups=groups, progress=progress)
        print(page.path)
        _finish(page.evaluation.warnings, page.evaluation.skipped)
        return
    path = output or Path("comparison.html")
    compared = compare(classifiers, path, data, split=split, impostors=impostors, progress=progress)
    print(path)
    warnings = [
        f"{name}: {text}" for name, each in zip(compared.names, compared.evaluations, strict=True) for text in each.warnings
    ]
    _finish(warnings, [error for each in compared.evaluations for error in each.skipped])


def _finish(warnings: Iterable[str], skipped: Sequence[ImageError]) -> None:
    """Prints the warnings and the unreadable images to stderr; exits with 1 if there are any of the latter."""
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)
    for error in skipped:
        print(printable(f"skipped: {error}"), file=sys.stderr)
    if skipped:
        raise typer.Exit(1)
