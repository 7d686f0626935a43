"""FaceFolder: torchvision's ImageFolder, robust against stray files and compact in memory."""

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from facecls.data.listing import ImageList, Paths, class_folders, require_folder
from facecls.device import require_torchvision
from facecls.errors import DataError
from facecls.faces.decode import SUFFIXES, open_image

require_torchvision()  # a readable error if torchvision was built for another torch

from torchvision.datasets import DatasetFolder, ImageFolder  # noqa: E402


class FaceFolder(ImageFolder):  # type: ignore[misc]  # torchvision ships no type information
    """Images in one folder per class: `root/CLASS/file`.

    An `ImageFolder` with these differences: hidden and system entries, files outside the class folders and files that are
    not images are ignored and counted in `ignored`; classes are in natural order (2 before 10); images are rotated by
    their EXIF orientation; the index (`image_list`) takes a fraction of the memory, as it is one buffer of names and one array
    of labels, and the lists `samples`, `imgs` and `targets` are built from it on first use.

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

    @cached_property
    def samples(self) -> list[tuple[str, int]]:
        """(path, class number) of every image."""
        return list(zip(self.image_list.paths, self.targets, strict=True))

    @property
    def imgs(self) -> list[tuple[str, int]]:
        """The same as `samples`, as in ImageFolder."""
        return self.samples

    @cached_property
    def targets(self) -> list[int]:
        """The class number of every image."""
        targets: list[int] = self.image_list.labels.tolist()
        return targets

    def __len__(self) -> int:
        return len(self.image_list)
