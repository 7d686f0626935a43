"""Labelled images given in Python, written as a label file."""

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from PIL import Image

from facecls.data.label_file import OPTIONAL, REQUIRED
from facecls.errors import DataError, ImageError
from facecls.faces.decode import upright_rgb
from facecls.faces.geometry import ImageSource, array_image
from facecls.files import write_atomic, write_error
from facecls.progress import Reporter
from facecls.text import csv_line


@runtime_checkable
class DataFrame(Protocol):
    """What is used of a pandas data frame."""

    @property
    def columns(self) -> Any: ...
    def itertuples(self, index: bool = ...) -> Iterable[Any]: ...


@runtime_checkable
class MapDataset(Protocol):
    """A map-style dataset, as of torch.utils.data, of (image, label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


LabelledImages: TypeAlias = DataFrame | MapDataset | Iterable[tuple[ImageSource, str | int]]


def write_images(data: LabelledImages, table: Path, progress: Reporter) -> None:
    """Writes the label file `table`, and images that are not paths into the folder `images` beside it.

    PIL images and arrays become PNG files of the same RGB pixels; bytes and file objects are written as they are. Integer
    labels become the names in the `classes` of the dataset, or of the one that it is a subset of, if it has any.

    Raises DataError for a data frame with other columns or an item that is no labelled image, RunError if a file cannot be
    written.
    """
    images = table.parent / "images"
    try:
        shutil.rmtree(images, ignore_errors=True)  # of a training that has not begun
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(table, error) from error
    if isinstance(data, DataFrame):
        columns = [str(name) for name in data.columns]
        problems = [f"data: has no column `{name}`" for name in REQUIRED if name not in columns]
        problems += [f"data: has a column `{name}`" for name in columns if name not in (*REQUIRED, *OPTIONAL)]
        if problems:
            raise DataError(*problems, hint="give the columns path and label, and if needed split and group, and no others")
        rows = [dict(zip(columns, map(_text, row), strict=True)) for row in data.itertuples(index=False)]
        lines = [csv_line(columns), *(csv_line([_absolute(row, name) for name in columns]) for row in rows)]
    else:
        lines = [csv_line(REQUIRED)]
        names = _class_names(data)
        count = len(data) if isinstance(data, Sized) else 0
        with progress.bar(total=count, desc="writing images", unit="image") as bar:
            for number, item in enumerate(_items(data)):
                image, label = _pair(number, item)
                lines.append(csv_line([_path(number, image, images), _label(number, label, names)]))
                bar.update()
    write_atomic(table, "".join(lines).encode("utf-8", "surrogateescape"))


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # pandas' missing value is NaN


def _absolute(row: dict[str, str], name: str) -> str:
    return str(Path(row[name]).absolute()) if name == "path" and row[name] else row[name]


def _items(data: MapDataset | Iterable[Any]) -> Iterator[Any]:
    if isinstance(data, Mapping):
        return iter(data.items())
    if isinstance(data, MapDataset):  # a dataset need not raise IndexError, which ends iteration
        return (data[number] for number in range(len(data)))
    return iter(data)


def _pair(number: int, item: Any) -> tuple[Any, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"data[{number}]: is not a pair of image and label", hint="give (image, label) for each image")
    return item[0], item[1]


def _class_names(data: Any) -> Sequence[str]:
    while not hasattr(data, "classes") and hasattr(data, "dataset"):  # torch.utils.data.Subset
        data = data.dataset
    return list(getattr(data, "classes", ()))


def _label(number: int, label: Any, names: Sequence[str]) -> str:
    if isinstance(label, str) and label:
        return label
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        return names[int(label)] if names else str(label)
    raise DataError(f"data[{number}]: its label is {label!r}", hint="a label is a text or an integer")


def _path(number: int, image: Any, folder: Path) -> str:
    if isinstance(image, str | os.PathLike):
        return str(Path(image).absolute())
    path = folder / f"{number:06d}.png"
    try:
        folder.mkdir(exist_ok=True)
        if isinstance(image, np.ndarray | Image.Image):
            pixels = array_image(image) if isinstance(image, np.ndarray) else upright_rgb(image)
            pixels.save(path, compress_level=1)
        elif isinstance(image, bytes) or hasattr(image, "read"):
            content = image if isinstance(image, bytes) else image.read()
            path = path.with_suffix(_suffix(content))
            path.write_bytes(content)
        else:
            raise DataError(
                f"data[{number}]: its image is of type {type(image).__name__}",
                hint="an image is a path, bytes, a file object, a PIL image or a uint8 array (H, W, 3)",
            )
    except ImageError as error:
        raise DataError(f"data[{number}]: {error.reason}", hint="images are PIL images or uint8 arrays (H, W, 3)") from error
    except OSError as error:
        raise write_error(path, error) from error
    return f"images/{path.name}"


def _suffix(content: bytes) -> str:
    """The suffix of an image file's format; it is only for people, as decoders look at the content."""
    try:
        return f".{Image.open(io.BytesIO(content)).format}".lower()
    except Exception:  # an image that cannot be read is reported when it is decoded
        return ".image"
