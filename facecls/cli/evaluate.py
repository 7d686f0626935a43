"""The commands that evaluate a checkpoint: eval, report."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from facecls.cli.options import Checkpoint, Data, Device, Format, Groups, Impostors, Precision, Split, Tta
from facecls.errors import ImageError
from facecls.text import plural, printable


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
    from facecls.api import evaluate, load
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
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = None,
    impostors: Impostors = None,
    groups: Groups = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file; default: report.html in the run directory.")
    ] = None,
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Write an HTML report on a checkpoint.

    Shows its accuracy, calibration, rejection of unknown people, worst mistakes and problems in its data. The exit code is 1 if
    an image cannot be read.
    """
    from facecls.api import evaluate, load
    from facecls.check.audit import audit_run
    from facecls.device import configure_process
    from facecls.progress import Progress
    from facecls.report.page import check_page_output, write_page
    from facecls.report.report import render_report, title_of
    from facecls.run import run_of

    configure_process(None)
    progress, run, classifier = Progress(), run_of(checkpoint), load(checkpoint, device=device, precision=precision)
    trained = classifier.checkpoint
    path = output or run.folder / "report.html"
    check_page_output(path)  # before the evaluation
    evaluation = evaluate(classifier, data, split=split, impostors=impostors, subgroups=groups, progress=progress)
    run_data = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    findings = audit_run(trained, run_data, progress)
    images = plural(len(evaluation.split), f"{evaluation.split.name} image" if data is None else "image")
    evaluated_on = images if data is None else f"{images} of {data}"
    write_page(path, render_report(trained, run, evaluation, classifier.device, title_of(checkpoint), evaluated_on, findings))
    print(path)
    _finish(evaluation.warnings, evaluation.skipped)


def _finish(warnings: Iterable[str], skipped: Sequence[ImageError]) -> None:
    """Prints the warnings and the unreadable images to stderr; exits with 1 if there are any of the latter."""
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)
    for error in skipped:
        print(printable(f"skipped: {error}"), file=sys.stderr)
    if skipped:
        raise typer.Exit(1)
