"""Writes a directory of synthetic faces."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from facecls.errors import DataError
from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import Photograph, invent_person, name_person, take_photograph

STORED_TURN = {  # EXIF orientation: what was done to the upright image, the inverse of what a reader has to do
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def write_faces(folder: Path, *, people: int, each: int, seed: int, first_person: int = 0) -> Iterator[Path]:
    """Write FOLDER/NAME/0001.jpg and so on, `each` images of every person, and yield each path once it is written.

    An image follows from seed, person and image number alone: a call for more images or people repeats the earlier
    ones byte for byte. `first_person` is the number to start at, so that others, strangers to the first, can be had.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(
            f"`{folder}` is already there and not an empty folder", hint="name a new folder, or delete this one first"
        )
    return _write_faces(folder, range(first_person, first_person + people), each, seed)


def _write_faces(folder: Path, numbers: range, each: int, seed: int) -> Iterator[Path]:
    for number in numbers:
        person, home = invent_person(seed, number), folder / name_person(number)
        home.mkdir(parents=True, exist_ok=True)
        for image in range(each):
            photograph = take_photograph(seed, number, image)
            path = home / f"{image + 1:04d}{photograph.suffix}"
            save_photograph(draw_face(person, photograph), photograph, path)
            yield path


def save_photograph(upright: Image.Image, photograph: Photograph, path: Path) -> None:
    """Store the image, where its orientation is not 1 turned and with the EXIF tag by which a reader turns it back."""
    options: dict[str, Any] = {}
    if photograph.suffix in (".jpg", ".webp"):
        options["quality"] = photograph.quality
    if photograph.orientation != 1:
        upright = upright.transpose(STORED_TURN[photograph.orientation])
        exif = Image.Exif()
        exif[0x0112] = photograph.orientation
        options["exif"] = exif
    upright.save(path, **options)
