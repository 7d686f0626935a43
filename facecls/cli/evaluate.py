"""The commands that score a checkpoint: eval, report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Device, Precision, Tta

Checkpoint = Annotated[Path, typer.Argument(help="A best.pt, or a run folder.")]
Data = Annotated[Path | None, typer.Option(help="Folder of classes to score on; default: the run's own data.")]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Which part of it.")]
Impostors = Annotated[Path | None, typer.Option("--strangers", help="Folder of images of none of the classes.")]
Groups = Annotated[Path | None, typer.Option(help="CSV file, `path,group` or `class,group`: accuracy by group.")]


def eval_(
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = "val",
    impostors: Impostors = None,
    groups: Groups = None,
    tta: Tta = "none",
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Score a checkpoint on images whose classes are known, and on strangers."""
    from facecls.checkpoint import read
    from facecls.device import resolve_inference_device
    from facecls.evaluation.evaluate import evaluate_checkpoint
    from facecls.evaluation.tables import print_scores, scores_to_json
    from facecls.progress import Progress
    from facecls.run import run_of

    trained = read(checkpoint)
    evaluation = evaluate_checkpoint(
        trained,
        resolve_inference_device(device, precision, trained.config.precision),
        Progress(),
        data=data,
        split_file=run_of(checkpoint).kept_split,
        split=split,
        impostors=impostors,
        groups=groups,
        mirrored=tta == "flip",
    )
    if format_ == "json":
        print(scores_to_json(evaluation))
    else:
        print_scores(evaluation)
    if evaluation.skipped:
        raise typer.Exit(1)


def report(
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = "val",
    impostors: Impostors = None,
    groups: Groups = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; default: report.html beside the checkpoint.")
    ] = None,
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Write a page that shows how good a classifier is, where it errs and why."""
    from facecls.check.audit import audit_run
    from facecls.checkpoint import read
    from facecls.device import resolve_inference_device
    from facecls.evaluation.evaluate import evaluate_checkpoint
    from facecls.progress import Progress
    from facecls.report.page import check_page_output, write_page
    from facecls.report.report import render_report, title_of
    from facecls.run import run_of

    progress, run, trained = Progress(), run_of(checkpoint), read(checkpoint)
    target = resolve_inference_device(device, precision, trained.config.precision)
    path = output or run.folder / "report.html"
    check_page_output(path)  # before the work
    evaluation = evaluate_checkpoint(
        trained,
        target,
        progress,
        data=data,
        split_file=run.kept_split,
        split=split,
        impostors=impostors,
        groups=groups,
    )
    own = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    findings = audit_run(trained, own, progress)
    evaluated_on = (
        f"{len(evaluation.split):,} {split} images" if data is None else f"{len(evaluation.split):,} images of {data}"
    )
    write_page(path, render_report(trained, run, evaluation, target, title_of(checkpoint), evaluated_on, findings))
    print(path)
