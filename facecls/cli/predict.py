"""The command that classifies images: predict."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Device, Precision, Tta


def predict(
    paths: Annotated[list[str] | None, typer.Argument(help="Images, folders, glob patterns, or - for paths on stdin.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A best.pt or a run directory; default: newest run in runs/.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Number of most probable classes to print.")] = 1,
    format_: Annotated[Literal["table", "json", "jsonl", "csv"], typer.Option("--format", help="Output format.")] = "table",
    output: Annotated[Path | None, typer.Option(help="Append rows to this CSV file; skip images classified in it.")] = None,
    watch: Annotated[Path | None, typer.Option(help="Classify images as they are added to this folder, until Ctrl-C.")] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder for copies of the images with the class, and box, of each face.")
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Folder for Grad-CAM overlays: regions that determine the class.")
    ] = None,
    unknown: Annotated[bool, typer.Option("--unknown/--no-unknown", help="Label unknown people `unknown`.")] = True,
    tta: Tta = "none",
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Classify faces with a trained checkpoint: a row for each face.

    Trained with `data.faces: detect`, it finds the faces in photographs. Otherwise each image is taken for one face, also if it
    shows several or none. An image that cannot be read gets a row with the reason, and the exit code is 1.
    """
    if (watch is None) == (not paths):
        raise typer.BadParameter("pass images, or a folder with --watch")
    if output is not None and format_ not in ("table", "csv"):
        raise typer.BadParameter("--output writes CSV", param_hint="--format")
    if watch is not None and format_ == "json" and output is None:
        raise typer.BadParameter("--watch never ends, so it cannot write one JSON list: use jsonl", param_hint="--format")

    from facecls.api.inference import load
    from facecls.device import configure_process
    from facecls.inference.session import PredictOptions, predict_images
    from facecls.progress import Progress
    from facecls.run import newest_best

    configure_process(None)
    progress = Progress()
    if checkpoint is None:
        checkpoint = newest_best()
        progress.note(f"using {checkpoint}")
    classifier = load(checkpoint, device=device, precision=precision, unknown=unknown, tta=tta, progress=progress)
    if format_ == "csv" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # the same bytes as --output writes
    top_k = min(top_k, len(classifier.classes))
    options = PredictOptions(tuple(paths or ()), watch, output, annotate, explain, format_, top_k)
    if predict_images(classifier, options, progress):
        raise typer.Exit(1)
