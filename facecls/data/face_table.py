"""`faces.csv`: a row for each face that `facecls prepare` found, appended to and resumed."""

import csv
import shutil
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath

from facecls.errors import RunError
from facecls.faces.detect import DetectedFace
from facecls.faces.photograph import NO_FACE
from facecls.files import lock_folder, write_atomic, write_error
from facecls.text import complete_csv_rows, csv_line

FACES_CSV = "faces.csv"
TURNED = "the faces seem turned: see --rotate"

_LANDMARKS = [f"{name}_{axis}" for name in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth") for axis in "xy"]
_BOX = ["x", "y", "width", "height"]
_COLUMNS = ["source", "bytes", "face", "output", "turn", *_BOX, *_LANDMARKS, "score", "faces", "reason", "options"]
_BYTES, _OUTPUT, _FACES, _REASON, _OPTIONS = map(_COLUMNS.index, ("bytes", "output", "faces", "reason", "options"))


@dataclass(frozen=True)
class PreparedImage:
    """An image and the faces that were cut out of it.

    source: path relative to the folder of images.
    bytes: size of the file.
    crops: for each crop its path, relative to the folder of crops, and the face in pixels of the upright image.
    faces: number of faces in the image.
    turn: degrees by which the image was turned clockwise to make the faces upright.
    reason: why there are no crops: NO_FACE, TURNED, or why the image cannot be read; else empty.
    """

    source: str
    bytes: int
    crops: tuple[tuple[str, DetectedFace], ...] = ()
    faces: int = 0
    turn: int = 0
    reason: str = ""


@dataclass
class FaceCounts:
    """Numbers of images, and of the faces that were written."""

    images: int = 0
    faces: int = 0
    without_face: int = 0
    turned: int = 0
    several_faces: int = 0
    unreadable: int = 0


class FaceTable:
    """The file `faces.csv` of a folder of crops, used in a `with`; the folder is locked meanwhile.

    The rows of an image are appended in one unbuffered write, so that an interruption loses none of another image.
    """

    def __init__(self, folder: Path, options: str, *, every_face: bool) -> None:
        """Opens or creates the file; removes the rows of images that are incomplete or could not be read.

        `options` are those of the command. `every_face`: an image has a row for each of its faces, not only for one. Raises
        RunError if the file has other columns or rows of other options, if another process uses it, or if it cannot be read
        or written.
        """
        self.path = folder / FACES_CSV
        self.counts = FaceCounts()
        self.sizes: dict[str, int] = {}  # bytes of each listed image, by source
        self._options, self._every_face = options, every_face
        self._lines: dict[str, str] = {}  # CSV of the rows of each listed image, by source
        self._temporary = folder / ".incomplete-faces"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder}: cannot be created: {error.strerror}", hint="choose another folder") from error
        self._lock = lock_folder(folder, "writes faces to", "folder")
        try:
            self._read()
            shutil.rmtree(self._temporary, ignore_errors=True)  # of a process that was killed
            self._temporary.mkdir()
            self._file = FileIO(self.path, "a")
        except OSError as error:
            raise write_error(self.path, error) from error

    def __enter__(self) -> "FaceTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._lock.release()

    @property
    def temporary(self) -> Path:
        """A path for a temporary file of this thread, in a folder that is removed at the end."""
        return self._temporary / str(threading.get_ident())

    def append(self, image: PreparedImage) -> None:
        """Appends the rows of an image, whose crops exist; raises RunError if they cannot be written."""
        rows = self._rows(image)
        remaining = _encoded(map(csv_line, rows))
        try:
            while remaining:  # a nearly full disk accepts a part before it raises
                remaining = remaining[self._file.write(remaining) :]
        except OSError as error:
            raise write_error(self.path, error) from error
        self._count(rows)

    def sort(self, sources: Iterable[str]) -> None:
        """Puts the rows into the order of `sources`, those of other images last."""
        ordered = {source: self._lines[source] for source in sources if source in self._lines} | self._lines
        if list(ordered) != list(self._lines):
            self._file.close()
            self._lines = ordered
            self._rewrite()

    def _rows(self, image: PreparedImage) -> list[list[str]]:
        last = [str(image.faces), image.reason, self._options]
        if not image.crops:
            blank = [""] * (_FACES - _BYTES - 1)
            return [[image.source, str(image.bytes), *blank, *last]]
        return [
            [
                *(image.source, str(image.bytes), str(number), output, str(image.turn)),
                *(f"{value:.2f}" for value in (*face.box, *(value for point in face.landmarks for value in point))),
                *(f"{face.score:.4f}", *last),
            ]
            for number, (output, face) in enumerate(image.crops)
        ]

    def _count(self, rows: list[list[str]]) -> None:
        source, faces, reason = rows[0][0], int(rows[0][_FACES]), rows[0][_REASON]
        self._lines[source] = "".join(map(csv_line, rows))
        self.sizes[source] = int(rows[0][_BYTES])
        self.counts.images += 1
        self.counts.faces += sum(row[_OUTPUT] != "" for row in rows)
        self.counts.without_face += reason == NO_FACE
        self.counts.turned += reason == TURNED
        self.counts.several_faces += faces > 1
        self.counts.unreadable += is_unreadable(reason)

    def _read(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        try:
            rows = complete_csv_rows(content)[0]
        except csv.Error:
            rows = [[""]]  # RunError is raised below
        started = rows[0] == _COLUMNS if rows else csv_line(_COLUMNS).encode().startswith(content)
        if not started or any(row and (len(row) != len(_COLUMNS) or not _has_numbers(row)) for row in rows[1:]):
            raise RunError(
                f"{self.path}: is not a CSV file of faces, or has other columns",
                hint="move it elsewhere, or choose another folder",
            )
        images: dict[str, list[list[str]]] = {}
        for row in filter(None, rows[1:]):
            images.setdefault(row[0], []).append(row)
            if row[_OPTIONS] != self._options:
                raise RunError(
                    f"{self.path}: its faces were written with `{row[_OPTIONS]}`, not with `{self._options}`",
                    hint=f"use `{row[_OPTIONS]}` to continue it, or choose another folder",
                )
        if images and self._every_face:
            last = next(reversed(images))
            if len(images[last]) < int(images[last][0][_FACES]):
                del images[last]
        for image in images.values():
            if not is_unreadable(image[0][_REASON]):
                self._count(image)
        if content != self._content():
            self._rewrite()

    def _content(self) -> bytes:
        return _encoded([csv_line(_COLUMNS), *self._lines.values()])

    def _rewrite(self) -> None:
        write_atomic(self.path, self._content(), self.path.with_name(f".{FACES_CSV}"))


def photographs_of(folder: Path) -> dict[str, str]:
    """The source of each crop that the `faces.csv` of a folder lists, by the crop's path; empty if there is no such file.

    Crops whose names are unique are also listed by name, as they may have been moved to other subfolders.
    """
    path = folder / FACES_CSV
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.reader(file)
        if next(reader, None) != _COLUMNS:
            return {}
        rows = [row for row in reader if len(row) == len(_COLUMNS) and row[_OUTPUT]]
    names = Counter(PurePosixPath(row[_OUTPUT]).name for row in rows)
    unique = {name: row[0] for row in rows if names[name := PurePosixPath(row[_OUTPUT]).name] == 1}
    return unique | {row[_OUTPUT]: row[0] for row in rows}


def is_unreadable(reason: str) -> bool:
    """Whether the `reason` of an image says why it cannot be read."""
    return reason not in ("", NO_FACE, TURNED)


def _has_numbers(row: list[str]) -> bool:
    return row[_FACES].isdecimal() and row[_BYTES].removeprefix("-").isdecimal()


def _encoded(lines: Iterable[str]) -> bytes:
    return "".join(lines).encode("utf-8", "surrogateescape")  # the bytes of file names that are not UTF-8
