"""Writes a folder of synthetic faces, one subfolder per person."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from facecls.errors import DataError
from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import Photograph, person_name, random_person, random_photograph

FROM_UPRIGHT = {  # by EXIF orientation: from upright to stored pixels, the inverse of a reader's transform
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def write_faces(
    folder: str | Path, *, people: int = 12, each: int = 40, seed: int = 0, first_person: int = 0
) -> Iterator[Path]:
    """Writes `each` images of every person as FOLDER/NAME/0001.jpg and so on, and yields each path once it is written.

    An image depends only on the seed and the numbers of person and image, so larger `people` or `each` only add images.
    People are numbered from `first_person`; different numbers are different people. Raises DataError if `folder` is a file
    or not empty.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{folder}: exists and is not an empty folder", hint="choose another folder, or delete this one first")
    return _write_faces(folder, range(first_person, first_person + people), each, seed)


def _write_faces(folder: Path, numbers: range, each: int, seed: int) -> Iterator[Path]:
    for number in numbers:
        person, person_folder = random_person(seed, number), folder / person_name(number)
        person_folder.mkdir(parents=True, exist_ok=True)
        for image in range(each):
            photograph = random_photograph(seed, number, image)
            path = person_folder / f"{image + 1:04d}{photograph.suffix}"
            save_photograph(draw_face(person, photograph), photograph, path)
            yield path


def save_photograph(upright: Image.Image, photograph: Photograph, path: Path) -> None:
    """Writes the image, transposed and with the EXIF tag of `photograph.orientation`."""
    options: dict[str, Any] = {}
    if photograph.suffix in (".jpg", ".webp"):
        options["quality"] = photograph.quality
    if photograph.orientation != 1:
        upright = upright.transpose(FROM_UPRIGHT[photograph.orientation])
        exif = Image.Exif()
        exif[0x0112] = photograph.orientation
        options["exif"] = exif
    upright.save(path, **options)
