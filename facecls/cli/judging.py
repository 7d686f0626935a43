"""The commands that put a trained classifier to work: eval, predict, report, cross-validate."""

import shlex
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Device, Precision, Set, Tta

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
    precision: Precision = None,
) -> None:
    """Score a checkpoint on pictures whose classes are known, and on strangers."""
    from facecls.inference.score import score_checkpoint
    from facecls.inference.tables import print_scores, scores_to_json
    from facecls.progress import Progress
    from facecls.run import run_of
    from facecls.training.checkpoint import read

    trained = read(checkpoint)
    scored = score_checkpoint(
        trained,
        trained.compute(device, precision),
        Progress(),
        data=data,
        split_file=run_of(checkpoint).kept_split,
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
    paths: Annotated[list[str] | None, typer.Argument(help="Pictures, folders, patterns; - reads paths from stdin.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Default: best.pt of the newest run in runs/.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 1,
    format_: Annotated[Literal["table", "json", "jsonl", "csv"], typer.Option("--format")] = "table",
    output: Annotated[Path | None, typer.Option(help="Add rows to this CSV file; skip what it holds.")] = None,
    watch: Annotated[Path | None, typer.Option(help="Name pictures as they arrive in this folder, until Ctrl-C.")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write each picture here with its name on it.")] = None,
    explain: Annotated[Path | None, typer.Option(help="Write each face here beside where the network looked.")] = None,
    unknown: Annotated[bool, typer.Option("--unknown/--no-unknown", help="Whether `unknown` is an answer.")] = True,
    tta: Tta = "none",
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Name what is in pictures."""
    if (watch is None) == (not paths):
        raise typer.BadParameter("name pictures, or a folder with --watch")
    if output is not None and format_ not in ("table", "csv"):
        raise typer.BadParameter("--output writes CSV", param_hint="--format")
    if watch is not None and format_ == "json" and output is None:
        raise typer.BadParameter("a list of what has no end cannot be written: use jsonl", param_hint="--format")

    from facecls.evaluation.outputs import mirror_allowed
    from facecls.inference.naming import Task, name_pictures
    from facecls.inference.predict import Predictor
    from facecls.progress import Progress
    from facecls.run import newest_best
    from facecls.training.checkpoint import read

    progress = Progress()
    if checkpoint is None:
        checkpoint = newest_best()
        progress.note(f"using {checkpoint}")
    trained = read(checkpoint)
    mirrored = mirror_allowed(tta == "flip", trained.config.data, progress)
    predictor = Predictor(trained, trained.compute(device, precision), unknown=unknown, mirrored=mirrored)
    if format_ == "csv" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # for programs: the same bytes as with --output
    task = Task(tuple(paths or ()), watch, output, annotate, explain, format_, min(top_k, len(predictor.classes)))
    if name_pictures(predictor, task, progress):
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
    precision: Precision = None,
) -> None:
    """Write a page that shows how good a classifier is, where it errs and why."""
    from facecls.inference.score import score_checkpoint
    from facecls.progress import Progress
    from facecls.report.findings import findings
    from facecls.report.page import make_room_for_page, write_page
    from facecls.report.report import report as page_of
    from facecls.report.report import title_of
    from facecls.run import run_of
    from facecls.training.checkpoint import read

    progress, run, trained = Progress(), run_of(checkpoint), read(checkpoint)
    compute, path = trained.compute(device, precision), output or run.folder / "report.html"
    make_room_for_page(path)  # before the work
    scored = score_checkpoint(
        trained,
        compute,
        progress,
        data=data,
        split_file=run.kept_split,
        split=split,
        strangers=strangers,
        groups=groups,
    )
    own = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    told = findings(trained, own, progress)
    scored_on = f"{len(scored.part):,} {split} pictures" if data is None else f"{len(scored.part):,} pictures of {data}"
    write_page(path, page_of(trained, run, scored, compute, title_of(checkpoint), scored_on, told))
    print(path)


def cross_validate(
    config: Annotated[Path, typer.Argument(help="The YAML file.")],
    folds: Annotated[int, typer.Option(min=2, help="So many trainings, each scored on another part of the pictures.")] = 5,
    set_: Set = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the folds' runs; default runs/CONFIG-DATE-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on at the fold and step where it was.")] = False,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
) -> None:
    """Train on every fold of small data, and say how good and how steady the recipe is."""
    import json

    from facecls.configfile import load_config
    from facecls.progress import Progress
    from facecls.run import new_run, newest_run

    settings = load_config(config, set_ or ())
    folder = (newest_run(config, holding="fold-1") if resume and out is None else new_run(out, config)).folder

    from facecls.compute import pick_compute
    from facecls.inference.tables import print_scores
    from facecls.report.folds import folds_page, print_folds, score_folds
    from facecls.report.page import make_room_for_page, write_page
    from facecls.training.folds import train_folds
    from facecls.training.interrupt import Interrupted

    progress, compute = Progress(epochs=sys.stderr), pick_compute(settings.device, settings.precision)
    path = folder / "report.html"
    if path.exists():
        make_room_for_page(path)  # before the work
    try:
        validation = score_folds(train_folds(settings, folds, folder, progress, go_on=resume), compute, progress)
    except (Interrupted, KeyboardInterrupt) as stopped:
        if folder.exists():
            words = ["facecls", "cross-validate", str(config), "--folds", str(folds)]
            words += [word for text in set_ or () for word in ("--set", text)]
            progress.note(f"\nstopped, and saved in {folder}; this goes on:\n")
            progress.note(f"    {shlex.join([*words, '--out', str(folder), '--resume'])}")
        raise typer.Exit(128 + getattr(stopped, "signal", signal.SIGINT)) from None
    write_page(path, folds_page(validation, settings, compute, folder.resolve().name))
    if format_ == "json":
        print(json.dumps(validation.to_plain() | {"report": str(path)}, indent=2))
        return
    print_folds(validation)
    print()
    print_scores(validation.pooled)
    print()
    print(path)
