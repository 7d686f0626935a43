"""FaceFolder: torchvision's ImageFolder, robust against stray files and compact in memory."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from facecls.data.listing import ImageList, Paths, class_folders, require_folder
from facecls.device import require_torchvision
from facecls.errors import DataError
from facecls.faces.decode import SUFFIXES, open_image

require_torchvision()  # a readable error if torchvision was built for another torch

from torchvision.datasets import DatasetFolder, ImageFolder  # noqa: E402

T = TypeVar("T")


class FaceFolder(ImageFolder):  # type: ignore[misc]  # torchvision ships no type information
    """Images in one folder per class: `root/CLASS/file`.

    An `ImageFolder` with these differences: hidden and system entries, files outside the class folders and files that are
    not images are ignored and counted in `ignored`; classes are in natural order (2 before 10); images are rotated by
    their EXIF orientation; the index takes a fraction of the memory, as `samples`, `imgs` and `targets` are views of
    one buffer of names and one array of labels (`image_list`).

    Raises DataError if the root is missing, is a file, or has no class folders, and if a class folder has no images.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        loader: Callable[[str], Any] = open_image,
    ) -> None:
        # Skips the constructors of ImageFolder and DatasetFolder, which build lists of tuples.
        super(DatasetFolder, self).__init__(str(root), transform=transform, target_transform=target_transform)
        self.loader = loader
        self.extensions = tuple(sorted(SUFFIXES))
        self.ignored: Counter[str] = Counter()  # number of entries by reason
        folder = require_folder(Path(root))
        self.classes: list[str] = class_folders(folder, self.ignored)
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        if not self.classes:
            images = any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
            raise DataError(
                f"{folder}: has {'images but ' if images else ''}no class folders",
                hint=f"put the images of each class into its own folder, such as {folder / 'ada' / '1.jpg'}",
            )
        paths, counts = Paths.below(folder, self.classes, self.ignored)
        self.image_list = ImageList(paths, np.repeat(np.arange(len(self.classes), dtype=np.int32), counts))
        empty = [name for name, count in zip(self.classes, counts, strict=True) if count == 0]
        if empty:
            raise DataError(
                *(f"{folder / name}: contains no images" for name in empty),
                hint="add images or remove the folder: every folder is a class",
            )

    @property
    def samples(self) -> Sequence[tuple[str, int]]:
        """(path, class number) of every image."""
        return _View(len(self.image_list), lambda index: (self.image_list.paths[index], int(self.image_list.labels[index])))

    @property
    def imgs(self) -> Sequence[tuple[str, int]]:
        """The same as `samples`, as in ImageFolder."""
        return self.samples

    @property
    def targets(self) -> Sequence[int]:
        """The class number of every image."""
        return _View(len(self.image_list), lambda index: int(self.image_list.labels[index]))


class _View(Sequence[T]):
    """Behaves like a list, but computes each element on access."""

    def __init__(self, length: int, element: Callable[[int], T]) -> None:
        self._length = length
        self._element = element

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._element(number) for number in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._element(index % self._length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # unhashable, as a list
