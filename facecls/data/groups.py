"""Which images belong together, so that a split does not part them."""

import os
import re

import numpy as np

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.listing import Indices, Paths
from facecls.errors import DataError
from facecls.progress import ProgressBar


def group_numbers(paths: Paths, data: DataConfig, split: SplitConfig, progress: ProgressBar) -> Indices:
    """The group of each image, (N,), as `split.group` says; the numbers themselves mean nothing."""
    if split.group == "name":
        assert split.pattern is not None, "the config sees to it"
        return by_name(paths, split.pattern)
    if split.group == "near_duplicates":
        from facecls.data.duplicates.match import near_duplicate_groups

        return near_duplicate_groups(paths, progress, data.cache_dir)
    return np.arange(len(paths))


def by_name(paths: Paths, pattern: str) -> Indices:
    """Groups by what a regular expression finds in the file names: its first group, or all of it where it has none.

    A group may span classes: one subject with several expressions stays together. A file in whose name nothing is found is
    a group of its own. Raises DataError where that is every file.
    """
    search = re.compile(pattern).search
    numbers: dict[str, int] = {}
    groups = np.arange(len(paths))
    for index in range(len(paths)):
        found = search(os.path.basename(paths.name(index)))  # noqa: PTH119 -- millions of times
        if found is not None:
            key = found.group(1) if found.re.groups else found.group()
            if key is not None:
                groups[index] = numbers.setdefault(key, index)
    if not numbers:
        raise DataError(
            f"split.pattern: `{pattern}` is found in none of the {len(paths)} file names",
            hint="the file names begin with " + ", ".join(f"`{os.path.basename(path)}`" for path in paths[:5]),  # noqa: PTH119
        )
    return groups
