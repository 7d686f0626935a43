"""Arguments and options that several commands share, and the class of commands that take a config."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from facecls.errors import UsageError

ConfigFile = Annotated[Path, typer.Argument(help="YAML config file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config value, such as optimizer.lr=0.05; repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: runs/CONFIG-DATE-TIME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue in --out, or without --out in this config's newest run.")]
Checkpoint = Annotated[Path, typer.Argument(help="A best.pt or a run directory.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder of labelled images, or a CSV file of path, label; default: the run's data.")
]
Split = Annotated[
    Literal["train", "val", "test"] | None,
    typer.Option(help="Split of the data to evaluate; default: test, or val without one."),
]
Impostors = Annotated[Path | None, typer.Option("--strangers", help="Folder of images of unknown people (impostors).")]
Groups = Annotated[Path | None, typer.Option(help="CSV file path,group or class,group; adds the accuracy of each group.")]
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="Output format.")]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:N or mps.")]
ConfigDevice = Annotated[
    str | None, typer.Option("--device", help="Device to compute on: auto, cpu, cuda, cuda:N or mps; default: the config's.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"] | None,
    typer.Option(help="Precision to compute in; default: as in training if the device supports it, else auto."),
]
Tta = Annotated[
    Literal["none", "flip"], typer.Option(help="Test-time augmentation; flip averages each image with its mirror image.")
]


def overrides_of(set_: list[str] | None, device: str | None) -> list[str]:
    """The arguments of --set, with --device as the last one."""
    return [*(set_ or ()), *([] if device is None else [f"device={device}"])]


class ConfigCommand(TyperCommand):
    """A command with --set: an unknown option is a UsageError, whose hint names the config keys of that name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)  # click removes what it has parsed
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if not hasattr(error, "possibilities"):  # only of click's NoSuchOption, which typer does not export
                raise
            name = str(getattr(error, "option_name", ""))
            raise UsageError(f"no such option: {name}", hint=_hint(name, error.possibilities or (), given)) from None


def _hint(option: str, possibilities: Any, arguments: list[str]) -> str:
    from facecls.config.load import keys_named

    at = next((n for n, argument in enumerate(arguments) if argument.partition("=")[0] == option), len(arguments))
    value = "".join(arguments[at : at + 1]).partition("=")[2] or "".join(arguments[at + 1 : at + 2])
    value = "VALUE" if not value or value.startswith("--") else value
    keys = keys_named(option.lstrip("-").replace("-", "_"))
    if keys:
        return "config values are set with " + " or ".join(f"`--set {key}={value}`" for key in keys)
    nearest = f"did you mean {' or '.join(f'`{name}`' for name in possibilities)}? " if possibilities else ""
    return f"{nearest}config values are set with `--set KEY=VALUE`; `facecls config schema` lists the keys"
