"""FaceFolder: torchvision's ImageFolder made safe for folders as people have them."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from facecls.data.listing import Paths, class_folders, existing_folder, is_image
from facecls.device import require_torchvision
from facecls.errors import DataError
from facecls.faces.decode import SUFFIXES, open_image

require_torchvision()  # says so if torchvision was built for another torch

from torchvision.datasets import DatasetFolder, ImageFolder  # noqa: E402

T = TypeVar("T")


class FaceFolder(ImageFolder):  # type: ignore[misc]  # torchvision ships no type information
    """Images in one folder per class: `root/CLASS/file`.

    It is an `ImageFolder`, so whatever takes one takes it. Other than there, hidden and system folders, files beside the
    class folders and files that are no images are passed over and counted in `passed_over`; classes are in natural order
    (2 before 10); images are turned upright as their EXIF tag says; and the index takes a fraction of the memory: one
    buffer for all names, one array for all labels, of which `samples`, `imgs` and `targets` are views.

    Raises DataError for a root that is missing, is a file, holds no class folders or empty ones.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        loader: Callable[[str], Any] = open_image,
    ) -> None:
        # ImageFolder's own constructor would make its lists of tuples.
        super(DatasetFolder, self).__init__(str(root), transform=transform, target_transform=target_transform)
        self.loader = loader
        self.extensions = tuple(sorted(SUFFIXES))
        self.passed_over: Counter[str] = Counter()
        folder = existing_folder(Path(root))
        self.classes: list[str] = class_folders(folder, self.passed_over)
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self._check_classes(folder)
        self.paths, counts = Paths.below(folder, self.classes, self.passed_over)
        self.labels: NDArray[np.int32] = np.repeat(np.arange(len(self.classes), dtype=np.int32), counts)
        empty = [name for name, count in zip(self.classes, counts, strict=True) if count == 0]
        if empty:
            raise DataError(
                *(f"{folder / name}: holds no images" for name in empty),
                hint="put images in, or remove the folder: every folder is a class",
            )

    def _check_classes(self, folder: Path) -> None:
        if not self.classes:
            images = any(is_image(path.name) for path in folder.iterdir())
            raise DataError(
                f"{folder}: holds {'images but ' if images else ''}no class folders",
                hint=f"put the images of each class in a folder of its own, such as {folder / 'ada' / '1.jpg'}",
            )

    @property
    def samples(self) -> Sequence[tuple[str, int]]:
        """(path, class number) of every image."""
        return _View(len(self.paths), lambda index: (self.paths[index], int(self.labels[index])))

    @property
    def imgs(self) -> Sequence[tuple[str, int]]:
        """The same as `samples`, as in ImageFolder."""
        return self.samples

    @property
    def targets(self) -> Sequence[int]:
        """The class number of every image."""
        return _View(len(self.paths), lambda index: int(self.labels[index]))


class _View(Sequence[T]):
    """Reads like a list whose elements are made when they are asked for."""

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

    __hash__ = None  # type: ignore[assignment]  # as for a list
