"""The command that cuts faces out of photographs: prepare."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def prepare(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of images, of any depth, such as CLASS/file.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the crops; gets the subfolders of SRC.")],
    size: Annotated[int, typer.Option(min=16, max=4096, help="Side of the crops in pixels.")] = 224,
    margin: Annotated[
        float,
        typer.Option(
            min=0, max=4, help="What is shown around the template's square, on each of its sides, as a share of its side."
        ),
    ] = 0.25,
    every_face: Annotated[
        bool, typer.Option("--all", help="Write every face, the others as name.2.jpg, name.3.jpg...")
    ] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="Turn images whose faces are sideways or inverted.")] = False,
) -> None:
    """Cut the faces out of photographs, to look at, correct and share.

    Writes the main face of each image (the largest, of equally large ones the most central), aligned, as
    DST/SUBFOLDER/name.jpg: eyes, nose and mouth are put onto a template, whose square shows a face from forehead to chin.
    Where names differ only in their suffix (a.png, a.jpg), or one is that of a second face (a.jpg, a.2.jpg), it stays:
    a.png.jpg, a.jpg.jpg.

    DST/faces.csv lists each face with its box and landmarks (pixels of the image before its turn; left is left of the upright
    face), score, turn (degrees clockwise that made it upright) and the number of faces in the image; and each image without a
    crop with the reason: no face was found, the faces seem sideways or inverted (see --rotate), or it cannot be read. Images
    listed there are skipped, unless they could not be read, so an interrupted command continues when it is run again. Other
    files are not overwritten. The exit code is 1 if an image cannot be read.
    """
    from facecls.api.data import prepare_faces
    from facecls.device import configure_process
    from facecls.progress import Progress
    from facecls.text import plural

    configure_process(None)
    counts = prepare_faces(source, target, size=size, margin=margin, every_face=every_face, rotate=rotate, progress=Progress())
    turned = f"{counts.turned:,} turned (see --rotate), " if counts.turned else ""
    images = (
        f"{counts.without_face:,} without a face, {turned}{counts.several_faces:,} with several, "
        f"{counts.unreadable:,} unreadable"
    )
    print(f"{plural(counts.images, 'image')}, {plural(counts.faces, 'crop')} listed; images: {images}", file=sys.stderr)
    print(target)
    if counts.unreadable:
        raise typer.Exit(1)
