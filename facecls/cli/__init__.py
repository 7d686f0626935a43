"""The command line: thin commands; heavy imports inside each; errors printed in one place."""

import codecs
import os
import shlex
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli import judging
from facecls.cli.options import Set
from facecls.errors import FaceclsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A folder of face photographs in, a trained face classifier out.",
)

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="About configs.")
app.add_typer(config_app, name="config")


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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from last.pt in the run folder; without --out in the newest of this config.")
    ] = False,
) -> None:
    """Train a classifier; writes a run folder with best.pt in it."""
    from facecls.configfile import load_config
    from facecls.progress import Progress
    from facecls.run import new_run, newest_run

    settings = load_config(config, set_ or ())
    run = newest_run(config) if resume and out is None else new_run(out, config)

    from facecls.training.interrupt import Interrupted
    from facecls.training.train import train as train_run

    progress = Progress()
    try:
        outcome = train_run(settings, run, progress, go_on=resume)
    except (Interrupted, KeyboardInterrupt) as stopped:
        if run.last.exists() and os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first one speaks
            words = ["facecls", "train", str(config), *(word for text in set_ or () for word in ("--set", text))]
            progress.note(f"\nstopped, and saved in {run.last}; this goes on:\n")
            progress.note(f"    {shlex.join([*words, '--out', str(run.folder), '--resume'])}")
        raise typer.Exit(128 + getattr(stopped, "signal", signal.SIGINT)) from None
    if outcome is None:  # the team's first process speaks
        return
    best = outcome.best
    if outcome.stopped:
        progress.note(f"ended early: {outcome.stopped}")
    progress.note(
        f"best: epoch {best['epoch'] + 1}, accuracy {best['val_accuracy']:.1%}, macro F1 {best['val_macro_f1']:.1%}, "
        f"after {best['seconds']:.0f} s"
    )
    print(run.best)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="The YAML file.")],
    set_: Set = None,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    csv: Annotated[Path | None, typer.Option(help="Also write every finding's pictures to a CSV file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with a thumbnail of every finding.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where a finding is grave.")] = False,
) -> None:
    """Look at config, data, model and one batch before time is spent; find what is wrong with the data."""
    from facecls.configfile import load_config

    settings = load_config(config, set_ or ())

    from facecls.inspection.check import check as look
    from facecls.inspection.output import make_room_for_csv, print_check, to_json, write_csv
    from facecls.inspection.page import write_html
    from facecls.progress import Progress
    from facecls.report.page import make_room_for_page

    if csv is not None:
        make_room_for_csv(csv)
    if html is not None:
        make_room_for_page(html)
    progress = Progress()
    inspection = look(settings, progress)
    for note in [*inspection.found.notes, *(inspection.rehearsal.notes if inspection.rehearsal else ())]:
        progress.note(note)
    if format_ == "json":
        print(to_json(inspection))
    else:
        print_check(inspection)
    if csv is not None:
        write_csv(csv, inspection)
    if html is not None:
        write_html(html, inspection)
    if strict and inspection.grave:
        raise typer.Exit(1)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of faces, one folder per class in it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: NAME.yaml here.")] = None,
) -> None:
    """Write a config that fits a folder of faces, with the reasons in it."""
    from facecls.errors import ConfigError
    from facecls.files import write_whole
    from facecls.suggest import look_at, suggest

    text = suggest(look_at(folder))
    path = output or Path(f"{folder.resolve().name}.yaml")
    if path.exists():
        raise ConfigError(f"{path}: is there already", hint="name another with --output")
    write_whole(path, f"# facecls train {path}\n{text}".encode("utf-8", "backslashreplace"))
    print(path)


app.command("eval")(judging.eval_)
app.command()(judging.predict)
app.command()(judging.report)
app.command("cross-validate")(judging.cross_validate)


@app.command()
def models(
    config: Annotated[Path | None, typer.Argument(help="A config whose image size and head to count with.")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Pixels, where no config is named.")] = 112,
    classes: Annotated[int, typer.Option(min=2, help="How many classes the head tells apart.")] = 10,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
) -> None:
    """List the models, with their parameters and multiply-adds for one picture."""
    from facecls.config import HeadConfig, ModelConfig
    from facecls.configfile import load_config
    from facecls.inference.catalogue import list_models, models_to_json, print_models

    model, head = ModelConfig(), HeadConfig()
    if config is not None:
        settings = load_config(config)
        model, head, image_size = settings.model, settings.head, settings.data.image_size
    listed = list_models(model, head, image_size=image_size, classes=classes)
    if format_ == "json":
        print(models_to_json(listed))
    else:
        print_models(listed, image_size=image_size, classes=classes)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a config, for editors."""
    import json

    from facecls.config import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command("demo-faces")
def demo_faces(
    folder: Annotated[Path, typer.Argument(help="A new folder, one folder per person in it.")],
    people: Annotated[int, typer.Option(min=1)] = 12,
    each: Annotated[int, typer.Option(min=1, help="Pictures of each person.")] = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    first_person: Annotated[int, typer.Option(min=0, help="Number of the first one: from --people on they are strangers.")] = 0,
) -> None:
    """Draw synthetic faces, to try everything with no pictures at hand."""
    from facecls.faces.demo import write_faces
    from facecls.progress import Progress

    with Progress().bar(total=people * each, desc="drawing", unit="face") as bar:
        for _ in write_faces(folder, people=people, each=each, seed=seed, first_person=first_person):
            bar.update()
    print(folder)


def _bytes_or_backslashes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Prints a file's name that is no UTF-8 as it is, and a letter that the encoding of stdout lacks by its number."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def main() -> None:
    """Runs the command line; what the user can put right is printed without a traceback, exit code 1."""
    codecs.register_error("facecls", _bytes_or_backslashes)
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
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
