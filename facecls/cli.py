"""The command line: thin commands; heavy imports inside each; errors printed in one place."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from facecls.errors import FaceclsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A folder of face photographs in, a trained face classifier out.",
)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the file: section.key=value.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from facecls import __version__

        print(f"facecls {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The YAML file.")],
    set_: Set = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/CONFIG-DATE-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from last.pt in the run folder.")] = False,
) -> None:
    """Train a classifier; writes a run folder with best.pt in it."""
    from facecls.config import load_config
    from facecls.errors import RunError
    from facecls.progress import Progress
    from facecls.run import new_run

    settings = load_config(config, set_ or ())
    if resume and out is None:
        raise RunError("--resume needs the run folder to go on with", hint=f"facecls train {config} --resume --out runs/NAME")
    run = new_run(out, config)

    from facecls.training.interrupt import Interrupted
    from facecls.training.train import train as train_run

    progress = Progress()
    try:
        outcome = train_run(settings, run, progress, go_on=resume)
    except Interrupted as interrupted:
        progress.note(f"\nstopped, and saved in {run.last}; this goes on:\n")
        words = [
            "facecls",
            "train",
            str(config),
            *(f"--set {text}" for text in set_ or ()),
            "--out",
            str(run.folder),
            "--resume",
        ]
        progress.note("    " + " ".join(words))
        raise typer.Exit(128 + interrupted.signal) from None
    best = outcome.best
    if outcome.stopped:
        progress.note(f"ended early: {outcome.stopped}")
    progress.note(
        f"best: epoch {best['epoch'] + 1}, accuracy {best['val_accuracy']:.1%}, macro F1 {best['val_macro_f1']:.1%}, "
        f"after {best['seconds']:.0f} s"
    )
    print(run.best)


def main() -> None:
    """Runs the command line; what the user can put right is printed without a traceback, exit code 1."""
    try:
        app()
    except FaceclsError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        if error.hint:
            print(file=sys.stderr)
            for line in error.hint.splitlines():
                print(f"hint: {line}" if line else "", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
