"""The commands about data: check, init, demo-faces."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from facecls.cli.options import Set


def check(
    config: Annotated[Path, typer.Argument(help="The YAML file.")],
    set_: Set = None,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    csv: Annotated[Path | None, typer.Option(help="Also write every finding's images to a CSV file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with a thumbnail of every finding.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a finding is an error.")] = False,
) -> None:
    """Check config, data, model and one batch before training; list problems of the data."""
    from facecls.config.load import load_config

    settings = load_config(config, set_ or ())

    from facecls.check.check import check_config
    from facecls.check.output import check_csv_output, print_check, to_json, write_csv
    from facecls.check.page import write_html
    from facecls.progress import Progress
    from facecls.report.page import check_page_output

    if csv is not None:
        check_csv_output(csv)
    if html is not None:
        check_page_output(html)
    progress = Progress()
    result = check_config(settings, progress)
    for note in [*result.dataset.notes, *(result.dry_run.notes if result.dry_run else ())]:
        progress.note(note)
    if format_ == "json":
        print(to_json(result))
    else:
        print_check(result)
    if csv is not None:
        write_csv(csv, result)
    if html is not None:
        write_html(html, result)
    if strict and result.errors:
        raise typer.Exit(1)


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of faces, one folder per class in it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: NAME.yaml here.")] = None,
) -> None:
    """Write a config that fits a folder of faces, with the reasons in it."""
    from facecls.check.suggest import suggest_config, summarise_folder
    from facecls.errors import ConfigError
    from facecls.files import write_atomic

    text = suggest_config(summarise_folder(folder))
    path = output or Path(f"{folder.resolve().name}.yaml")
    if path.exists():
        raise ConfigError(f"{path}: is there already", hint="name another with --output")
    write_atomic(path, f"# facecls train {path}\n{text}".encode("utf-8", "backslashreplace"))
    print(path)


def demo_faces(
    folder: Annotated[Path, typer.Argument(help="A new folder, one folder per person in it.")],
    people: Annotated[int, typer.Option(min=1)] = 12,
    each: Annotated[int, typer.Option(min=1, help="Images of each person.")] = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    first_person: Annotated[int, typer.Option(min=0, help="Number of the first one: from --people on they are strangers.")] = 0,
) -> None:
    """Draw synthetic faces, to try everything with no images at hand."""
    from facecls.progress import Progress
    from facecls.synthetic.write import write_faces

    with Progress().bar(total=people * each, desc="drawing", unit="face") as bar:
        for _ in write_faces(folder, people=people, each=each, seed=seed, first_person=first_person):
            bar.update()
    print(folder)
