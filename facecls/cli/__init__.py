"""The command line: one small function per command, with heavy imports inside; errors are printed in `main`."""

import codecs
import signal
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from facecls.cli import data, evaluate, faces, models, predict, runs, train
from facecls.cli.options import ConfigCommand
from facecls.errors import FaceclsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train face classifiers on folders of images, and use them.",
)

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Describe the config format.")
app.add_typer(config_app, name="config")


def _show_version(requested: bool) -> None:
    if requested:
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


app.command()(data.init)
app.command()(faces.prepare)
app.command(cls=ConfigCommand)(data.check)
app.command(cls=ConfigCommand)(train.train)
app.command("cross-validate", cls=ConfigCommand)(train.cross_validate)
app.command("eval")(evaluate.eval_)
app.command()(evaluate.report)
app.command()(predict.predict)
app.command()(runs.runs)
app.command()(models.models)
app.command("demo-faces")(data.demo_faces)
config_app.command("schema")(models.config_schema)


def _encode_anything(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encoding error handler: bytes of a file name that is not UTF-8 stay as they are, other characters are escaped."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def main() -> None:
    """Runs the command line; a FaceclsError is printed as `error:` and `hint:` lines, with exit code 1."""
    codecs.register_error("facecls", _encode_anything)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "facecls")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        app()
    except FaceclsError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        if error.hint:
            print(file=sys.stderr)
            for line in error.hint.splitlines():
                print(f"hint: {line}" if line else "", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # while the interpreter waits for threads: it would abort the process
        sys.exit(130)
