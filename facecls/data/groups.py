"""Groups of images that are kept in one split."""

import os
import re
from pathlib import Path

import numpy as np

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.face_table import photographs_of
from facecls.data.listing import Indices, Paths
from facecls.errors import DataError
from facecls.progress import ProgressBar
from facecls.text import name_list


def group_numbers(paths: Paths, data: DataConfig, split: SplitConfig, progress_bar: ProgressBar) -> Indices:
    """The group of each image, (N,), by `split.group`; only the equality of two numbers has a meaning.

    Crops that `facecls prepare` cut out of one photograph are in one group, too, unless `split.group` is `none`.
    """
    if split.group == "name":
        assert split.pattern is not None, "SplitConfig requires a pattern"
        return by_photograph(paths, by_name(paths, split.pattern))
    if split.group == "near_duplicates":
        from facecls.data.duplicates.match import near_duplicate_groups

        return by_photograph(paths, near_duplicate_groups(paths, progress_bar, data.cache_dir))
    return np.arange(len(paths))


def by_photograph(paths: Paths, groups: Indices) -> Indices:
    """Joins `groups` (N,) that hold crops of one photograph, by the faces.csv of `facecls prepare` in the root."""
    photographs = photographs_of(Path(paths.root))
    if not photographs:
        return groups
    from facecls.data.duplicates.match import connected_components

    first: dict[str, int] = {}
    pairs = []
    for index in range(len(paths)):
        name = paths.name(index)
        source = photographs.get(name) or photographs.get(os.path.basename(name))  # noqa: PTH119
        if source is not None:
            pairs.append((first.setdefault(source, index), index))
    _, firsts, inverse = np.unique(groups, return_index=True, return_inverse=True)
    members = np.stack([firsts[inverse], np.arange(len(groups))], axis=1)
    return connected_components(len(groups), np.concatenate([members, np.array(pairs, np.int64).reshape(-1, 2)]))


def by_name(paths: Paths, pattern: str) -> Indices:
    """Groups images by the first capture group of `pattern` (the whole match if it has none) in the file name, (N,).

    A group may span classes, such as all expressions of one subject. A file whose name does not match is its own group.
    Raises DataError if no file name matches.
    """
    search = re.compile(pattern).search
    first: dict[str, int] = {}  # the first image of each group
    groups = np.arange(len(paths))
    for index in range(len(paths)):
        match = search(os.path.basename(paths.name(index)))  # noqa: PTH119 -- a Path is slow for millions of names
        key = match and match.group(min(match.re.groups, 1))
        if key is not None:
            groups[index] = first.setdefault(key, index)
    if not first:
        names = name_list(Path(path).name for path in paths[:5])
        problem = f"split.pattern: `{pattern}` matches none of the {len(paths)} file names"
        raise DataError(problem, hint=f"the first file names are {names}")
    return groups
