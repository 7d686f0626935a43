"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigFile = Annotated[Path, typer.Argument(help="YAML config file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config value, such as optimizer.lr=0.05; repeatable."),
]
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="Output format.")]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"] | None,
    typer.Option(help="Precision to compute in; default: as in training if the device supports it, else auto."),
]
Tta = Annotated[
    Literal["none", "flip"], typer.Option(help="Test-time augmentation; flip averages each image with its mirror image.")
]
