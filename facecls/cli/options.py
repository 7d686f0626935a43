"""Options that several commands share."""

from typing import Annotated, Literal

import typer

Device = Annotated[str, typer.Option(help="auto | cpu | cuda | cuda:N | mps")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"] | None,
    typer.Option(help="Default: as in training, where the device has it. auto: bf16 where the processor has it."),
]
Tta = Annotated[Literal["none", "flip"], typer.Option(help="flip: the mean of every image and its mirror image.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the file: section.key=value.")]
