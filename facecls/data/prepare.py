"""Cuts the faces out of a folder tree of images: aligned crops in the same subfolders, listed in `faces.csv`."""

import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from facecls.data.face_table import FACES_CSV, TURNED, FaceCounts, FaceTable, PreparedImage, is_unreadable
from facecls.data.listing import images_below, require_folder
from facecls.device import available_cores
from facecls.errors import DataError, ImageError, RunError
from facecls.faces.detect import DetectedFace, Detector, DetectorOptions, Pixels, Point, build_detector
from facecls.faces.photograph import NO_FACE, Photograph, find_upright
from facecls.files import file_state, write_atomic, write_error
from facecls.prefetch import map_in_threads
from facecls.progress import Reporter
from facecls.text import plural, printable

_QUALITY = 95  # of the JPEG files

_LISTED = 20  # problems listed in an error; of the others only the number is reported


@dataclass(frozen=True)
class PrepareOptions:
    """Which faces are cut out, and how.

    size: side of the crops, pixels.
    margin: what is shown around the template's square, on each of its sides, as a share of its side (see `align`).
    every_face: cut out all faces of an image, not only the main one (see `main_face`).
    rotate: turn images in which faces are found sideways or inverted; else they have no crop.
    """

    size: int = 224
    margin: float = 0.25
    every_face: bool = False
    rotate: bool = False

    def __str__(self) -> str:
        """As on the command line."""
        flags = " --all" * self.every_face + " --rotate" * self.rotate
        return f"--size {self.size} --margin {self.margin}{flags}"


def prepare_faces(source: Path, target: Path, options: PrepareOptions, progress: Reporter) -> FaceCounts:
    """Writes the crops of all images below `source` into `target`, skips the images listed there, and counts both.

    OpenCV should use one thread. Raises DataError if `source` has no images or its images have changed since they were
    listed; RunError if one folder is inside the other, if a file would be overwritten or cannot be written, or if `faces.csv`
    is of other options; ModelError and InstallError as `build_detector` does.
    """
    detect = build_detector("yunet")
    _check_folders(require_folder(source, hint="name a folder of images"), target)
    names = list(images_below(source, "", Counter()))
    if not names:
        raise DataError(f"{source}: contains no images", hint="name a folder of images")
    stems = crop_stems(names)
    if not (target / FACES_CSV).exists():
        _check_unused(target / f"{stem}.jpg" for stem in stems.values())
    with FaceTable(target, str(options), every_face=options.every_face) as table:
        _check_unchanged(source, table.sizes)
        pending = [name for name in names if name not in table.sizes]

        def prepare(name: str) -> PreparedImage:
            path = source / name
            try:
                return _prepare_image(name, path, target, stems[name], detect, options, table)
            except ImageError as error:
                return PreparedImage(name, file_state(str(path))[0], reason=error.reason)

        try:
            with progress.bar(total=len(pending), desc="preparing", unit="image") as bar:
                for image in map_in_threads(prepare, pending, available_cores()):
                    table.append(image)
                    bar.update()
                    if is_unreadable(image.reason):
                        progress.note(printable(f"skipped: {source / image.source}: {image.reason}"))
            table.sort(names)
        except KeyboardInterrupt:
            listed = plural(table.counts.images, "image")
            progress.note(f"interrupted; {listed} saved in {table.path}. Run the same command to continue")
            raise
        return table.counts


def crop_stems(names: Iterable[str]) -> dict[str, str]:
    """For each image the path of its crops without `.jpg` or `.2.jpg`, so that no two crops have the same path.

    It is the name without its suffix: `a/1.png` becomes `a/1.jpg`. Where two images of a folder differ in nothing else, or
    one would have the name of another one's second face, the suffix stays: `a/1.png.jpg`.
    """
    stems = {name: str(PurePath(name).with_suffix("")) for name in names}
    clashing = set(stems)
    while clashing:
        counts = Counter(stems.values())
        clashing = {
            name
            for name, stem in stems.items()
            if stem != name and (counts[stem] > 1 or re.sub(r"\.\d+$", "", stem) in counts.keys() - {stem})
        }
        stems |= {name: name for name in clashing}
    return stems


def _check_folders(source: Path, target: Path) -> None:
    images, crops = source.resolve(), target.resolve()
    if crops.is_relative_to(images):
        where = "is the folder of the images" if crops == images else f"is inside {source}"
        raise RunError(f"{target}: {where}, so the crops would be read as images", hint="choose a folder elsewhere")
    if images.is_relative_to(crops):
        raise RunError(f"{target}: contains {source}, so crops and images would be mixed", hint="choose a folder elsewhere")


def _check_unused(paths: Iterable[Path]) -> None:
    existing = [f"{path}: already exists" for path in paths if os.path.lexists(path)]
    if existing:
        raise RunError(*_shortened(existing), hint="choose another folder, or move these files")


def _check_unchanged(source: Path, sizes: dict[str, int]) -> None:
    """Raises DataError if a listed image has another size: it was changed, or is of another folder."""
    changed = []
    for name, size in sizes.items():
        now = file_state(os.path.join(source, name))[0]  # noqa: PTH118 -- a Path is slow for millions of names
        if now not in (size, -1):
            changed.append(f"{source / name}: has {now:,} bytes, but had {size:,} when its faces were listed")
    if changed:
        raise DataError(
            *_shortened(changed),
            hint=f"choose another folder for the crops, or delete the crops of these images and their rows in {FACES_CSV}",
        )


def _shortened(problems: Sequence[str]) -> list[str]:
    more = len(problems) - _LISTED
    return [*problems[:_LISTED], *([f"and {plural(more, 'more file')}"] if more > 0 else [])]


def _prepare_image(
    name: str, path: Path, target: Path, stem: str, detect: Detector, options: PrepareOptions, table: FaceTable
) -> PreparedImage:
    """Finds the faces of an image and writes their crops; raises ImageError if it cannot be read."""
    size = file_state(str(path))[0]
    photograph = Photograph(path, DetectorOptions())
    photograph, faces, turn = find_upright(photograph, photograph.faces(detect), detect, always=options.rotate)
    if not faces:
        return PreparedImage(name, size, reason=NO_FACE)
    if turn and not options.rotate:
        return PreparedImage(name, size, reason=TURNED)
    crops = []
    for number, face in enumerate(faces if options.every_face else faces[:1], 1):
        output = f"{stem}.jpg" if number == 1 else f"{stem}.{number}.jpg"
        _write_crop(target / output, photograph.cut(face, options.size, options.margin), table)
        crops.append((output, _before(face, turn, *photograph.full)))
    return PreparedImage(name, size, tuple(crops), len(faces), turn)


def _before(face: DetectedFace, turn: int, width: int, height: int) -> DetectedFace:
    """The face in pixels of the image before it was turned clockwise by `turn` degrees to `width` x `height` pixels."""
    if not turn:
        return face
    centre = complex(width, height) / 2
    centre_before = complex(height, width) / 2 if turn % 180 else centre

    def move(point: Point) -> Point:
        moved = (complex(*point) - centre) * (-1j) ** (turn // 90) + centre_before
        return moved.real, moved.imag

    x, y, wide, high = face.box
    (x, y), (x_end, y_end) = move((x, y)), move((x + wide, y + high))
    eye, other_eye, nose, mouth, other_mouth = map(move, face.landmarks)
    return DetectedFace(
        (min(x, x_end), min(y, y_end), abs(x_end - x), abs(y_end - y)), (eye, other_eye, nose, mouth, other_mouth), face.score
    )


def _write_crop(path: Path, crop: Pixels, table: FaceTable) -> None:
    """Writes a crop; raises RunError if another file is there, or it cannot be written."""
    encoded = io.BytesIO()
    Image.fromarray(crop).save(encoded, "JPEG", quality=_QUALITY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same crop is there if an earlier process was killed before it listed it.
        written = os.path.lexists(path) and path.read_bytes() == encoded.getvalue()
    except OSError as error:
        raise write_error(path, error) from error
    if written:
        return
    if os.path.lexists(path):
        raise RunError(
            f"{path}: already exists, and is not listed in {table.path}",
            hint="move or delete it, or choose another folder",
        )
    write_atomic(path, encoded.getvalue(), table.temporary)
