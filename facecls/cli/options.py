"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigFile = Annotated[Path, typer.Argument(help="YAML config file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config value, such as optimizer.lr=0.05; repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="Run folder; default: runs/CONFIG-DATE-TIME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue in --out, or without --out in this config's newest run.")]
Checkpoint = Annotated[Path, typer.Argument(help="A best.pt or a run folder.")]
Data = Annotated[Path | None, typer.Option(help="Folder of labelled images; default: the run's data.")]
Split = Annotated[
    Literal["train", "val", "test"] | None,
    typer.Option(help="Split of the data to evaluate; default: test, or val without one."),
]
Impostors = Annotated[Path | None, typer.Option("--strangers", help="Folder of images of unknown people (impostors).")]
Groups = Annotated[Path | None, typer.Option(help="CSV file path,group or class,group; adds the accuracy of each group.")]
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="Output format.")]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"] | None,
    typer.Option(help="Precision to compute in; default: as in training if the device supports it, else auto."),
]
Tta = Annotated[
    Literal["none", "flip"], typer.Option(help="Test-time augmentation; flip averages each image with its mirror image.")
]
