"""The commands about data: check, init, demo-faces."""

from pathlib import Path
from typing import Annotated

import typer

from facecls.cli.options import ConfigDevice, ConfigFile, Format, Set, overrides_of


def check(
    config: ConfigFile,
    set_: Set = None,
    format_: Format = "table",
    csv: Annotated[Path | None, typer.Option(help="Also write the images of every finding to this CSV file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the findings with thumbnails to this HTML file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a finding is an error.")] = False,
    device: ConfigDevice = None,
) -> None:
    """Check config, data and model before training.

    Looks for problems in the data, and trains on one batch to estimate the time of an epoch and the memory.
    """
    from facecls.config.load import load_config

    settings = load_config(config, overrides_of(set_, device))

    from facecls.api.data import check_config
    from facecls.check.output import check_csv_output, print_check, to_json, write_csv
    from facecls.check.page import write_html
    from facecls.device import configure_process
    from facecls.progress import Progress
    from facecls.report.page import check_page_output

    configure_process(settings.threads)
    if csv is not None:
        check_csv_output(csv)
    if html is not None:
        check_page_output(html)
    progress = Progress()
    result = check_config(settings, progress=progress)
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
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of images, CLASS/file or {train,val,test}/CLASS/file, or a CSV file of path, label."),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Config file to write; default: FOLDER.yaml.")] = None,
) -> None:
    """Write a config that suits a folder, or a CSV file, of labelled images."""
    from facecls.data.listing import require_folder

    if folder.suffix.lower() != ".csv" or not folder.is_file():
        require_folder(folder)  # before the imports below, which take seconds

    from facecls.api.data import suggest_config
    from facecls.errors import ConfigError
    from facecls.files import write_atomic
    from facecls.progress import Progress
    from facecls.text import plural

    path = output or Path(f"{folder.stem if folder.is_file() else folder.resolve().name}.yaml")
    if path.exists():
        raise ConfigError(f"{path}: already exists", hint="choose another file with --output")
    suggested = suggest_config(folder)
    write_atomic(path, f"# facecls train {path}\n{suggested.yaml}".encode("utf-8", "backslashreplace"))
    progress = Progress()
    for error in suggested.unreadable:
        progress.note(f"warning: {error}")
    if suggested.unreadable:
        sampled = f"{len(suggested.unreadable)} of {plural(suggested.sampled, 'sampled image')}"
        progress.note(f"warning: {sampled} cannot be read; `facecls check {path}` lists all")
    print(path)


def demo_faces(
    folder: Annotated[Path, typer.Argument(help="New folder; gets one subfolder per person.")],
    people: Annotated[int, typer.Option(min=1, help="Number of people.")] = 12,
    each: Annotated[int, typer.Option(min=1, help="Images per person.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    first_person: Annotated[int, typer.Option(min=0, help="Skip this many people, to draw others than before.")] = 0,
) -> None:
    """Draw synthetic faces, to try facecls without data."""
    from facecls.progress import Progress
    from facecls.synthetic.write import write_faces  # the API's, without torch

    with Progress().bar(total=people * each, desc="drawing", unit="face") as bar:
        for _ in write_faces(folder, people=people, each=each, seed=seed, first_person=first_person):
            bar.update()
    print(folder)
