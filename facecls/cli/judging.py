"""The commands that put a trained classifier to work: eval, predict, report."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Device, Precision, Tta

Checkpoint = Annotated[Path, typer.Argument(help="A best.pt, or a run folder.")]
Data = Annotated[Path | None, typer.Option(help="Folder of classes to score on; default: the run's own data.")]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Which part of it.")]
Strangers = Annotated[Path | None, typer.Option(help="Folder of pictures of none of the classes.")]
Groups = Annotated[Path | None, typer.Option(help="CSV file, `path,group` or `class,group`: accuracy by group.")]


def eval_(
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = "val",
    strangers: Strangers = None,
    groups: Groups = None,
    tta: Tta = "none",
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Score a checkpoint on pictures whose classes are known, and on strangers."""
    from facecls.compute import pick_compute
    from facecls.inference.score import score_checkpoint
    from facecls.inference.tables import print_scores, scores_to_json
    from facecls.progress import Progress
    from facecls.training.checkpoint import read

    compute = pick_compute(device, precision)
    scored = score_checkpoint(
        read(checkpoint),
        compute,
        Progress(),
        data=data,
        split=split,
        strangers=strangers,
        groups=groups,
        mirrored=tta == "flip",
    )
    if format_ == "json":
        print(scores_to_json(scored))
    else:
        print_scores(scored)
    if scored.skipped:
        raise typer.Exit(1)


def predict(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders of pictures, or patterns.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Default: best.pt of the newest run in runs/.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 1,
    format_: Annotated[Literal["table", "json", "jsonl", "csv"], typer.Option("--format")] = "table",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Name what is in pictures."""
    from facecls.compute import pick_compute
    from facecls.inference.predict import Predictor, find_pictures
    from facecls.inference.rows import write_predictions
    from facecls.run import newest_best
    from facecls.training.checkpoint import read

    if checkpoint is None:
        checkpoint = newest_best()
        print(f"using {checkpoint}", file=sys.stderr)
    predictor = Predictor(read(checkpoint), pick_compute(device, precision))
    top_k = min(top_k, len(predictor.classes))
    if write_predictions(predictor.predict(find_pictures(paths), top_k), format_, top_k, sys.stdout):
        raise typer.Exit(1)


def report(
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = "val",
    strangers: Strangers = None,
    groups: Groups = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; default: report.html beside the checkpoint.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Write a page that shows how good a classifier is, where it errs and why."""
    from facecls.compute import pick_compute
    from facecls.inference.score import score_checkpoint
    from facecls.progress import Progress
    from facecls.report.page import write_page
    from facecls.report.report import report as page_of
    from facecls.report.report import title_of
    from facecls.run import Run
    from facecls.training.checkpoint import read

    compute, trained = pick_compute(device, precision), read(checkpoint)
    scored = score_checkpoint(trained, compute, Progress(), data=data, split=split, strangers=strangers, groups=groups)
    run = Run(checkpoint if checkpoint.is_dir() else checkpoint.parent)
    scored_on = f"{len(scored.part):,} {split} pictures" if data is None else f"{len(scored.part):,} pictures of {data}"
    path = output or run.folder / "report.html"
    write_page(path, page_of(trained, run, scored, compute, title_of(checkpoint), scored_on))
    print(path)
