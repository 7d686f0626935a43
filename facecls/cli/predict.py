"""The command that classifies images: predict."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Device, Precision, Tta


def predict(
    paths: Annotated[list[str] | None, typer.Argument(help="Images, folders, patterns; - reads paths from stdin.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Default: best.pt of the newest run in runs/.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 1,
    format_: Annotated[Literal["table", "json", "jsonl", "csv"], typer.Option("--format")] = "table",
    output: Annotated[Path | None, typer.Option(help="Add rows to this CSV file; skip what it holds.")] = None,
    watch: Annotated[Path | None, typer.Option(help="Name images as they arrive in this folder, until Ctrl-C.")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write each image here with its name on it.")] = None,
    explain: Annotated[Path | None, typer.Option(help="Write each face here beside where the network looked.")] = None,
    unknown: Annotated[bool, typer.Option("--unknown/--no-unknown", help="Whether `unknown` is an answer.")] = True,
    tta: Tta = "none",
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Name what is in images."""
    if (watch is None) == (not paths):
        raise typer.BadParameter("name images, or a folder with --watch")
    if output is not None and format_ not in ("table", "csv"):
        raise typer.BadParameter("--output writes CSV", param_hint="--format")
    if watch is not None and format_ == "json" and output is None:
        raise typer.BadParameter("a list of what has no end cannot be written: use jsonl", param_hint="--format")

    from facecls.checkpoint import read
    from facecls.device import resolve_inference_device
    from facecls.evaluation.infer import flip_allowed
    from facecls.inference.predict import Predictor
    from facecls.inference.session import PredictOptions, predict_images
    from facecls.progress import Progress
    from facecls.run import newest_best

    progress = Progress()
    if checkpoint is None:
        checkpoint = newest_best()
        progress.note(f"using {checkpoint}")
    trained = read(checkpoint)
    mirrored = flip_allowed(tta == "flip", trained.config.data, progress)
    predictor = Predictor(
        trained, resolve_inference_device(device, precision, trained.config.precision), unknown=unknown, mirrored=mirrored
    )
    if format_ == "csv" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # for programs: the same bytes as with --output
    task = PredictOptions(tuple(paths or ()), watch, output, annotate, explain, format_, min(top_k, len(predictor.classes)))
    if predict_images(predictor, task, progress):
        raise typer.Exit(1)
