"""Where the images to name come from: the command line, a pipe, a folder that fills up."""

import glob
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from facecls.data.listing import images_below
from facecls.errors import DataError

_POLL_SECONDS = 1.0
_AT_ONCE = 4096  # paths taken from a pipe at a time: many, so that reading ahead is worth it


def find_images(named: Iterable[str]) -> list[str]:
    """The images that files, folders and patterns name, in order; a file is taken as it is, whatever its suffix.

    Raises DataError for a folder without images and a pattern that nothing fits.
    """
    found: list[str] = []
    for name in named:
        path = Path(name)
        # os.path, as a Path raises for a name that the system refuses, and for one that this account may not look at
        is_folder = os.path.isdir(name)  # noqa: PTH112
        if is_folder:
            images = [str(path / image) for image in images_below(path, "", Counter())]
        elif os.path.exists(name) or not glob.has_magic(name):  # noqa: PTH110
            images = [name]
        else:
            images = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 -- it takes absolute patterns as well
        if not images:
            what = "holds no images" if is_folder else "no file fits this pattern"
            raise DataError(f"{name}: {what}", hint="name images, folders that hold some, or patterns such as 'photos/*.jpg'")
        found += images
    return found


def piped(lines: TextIO) -> Iterator[list[str]]:
    """The paths that a pipe brings, one a line, in groups of what is there, so that a slow pipe is answered at once."""
    arrived: queue.Queue[str | None] = queue.Queue(2 * _AT_ONCE)

    def read() -> None:
        try:
            for line in lines:
                if line.rstrip("\r\n"):
                    arrived.put(line.rstrip("\r\n"))
        finally:
            arrived.put(None)

    threading.Thread(target=read, daemon=True, name="facecls-pipe").start()
    ended = False
    while not ended:
        group = [arrived.get()]
        while group[-1] is not None and len(group) < _AT_ONCE and not arrived.empty():
            group.append(arrived.get())
        ended = group[-1] is None
        paths = [path for path in group if path is not None]
        if paths:
            yield paths


def watched(folder: Path, held: Collection[str] = (), poll_seconds: float = _POLL_SECONDS) -> Iterator[list[str]]:
    """The images in a folder and the folders in it, then without end those that arrive or change.

    An image counts as arrived when its size and time have stood still from one look to the next. Those of `held` that are
    there at the start are passed over until they change. Raises DataError where the folder is missing.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 -- no error where the system refuses the name
        raise DataError(f"{folder}: no such folder to watch", hint="make it first: images are named as they arrive in it")
    seen: dict[str, tuple[int, int]] = {}
    given: dict[str, tuple[int, int]] = {path: state for path, state in _scan(folder).items() if path in held}
    while True:
        before, seen = seen, _scan(folder)
        given = {path: state for path, state in given.items() if path in seen}  # one that comes again is another image
        ready = [path for path, state in seen.items() if before.get(path) == state and given.get(path) != state]
        given |= {path: seen[path] for path in ready}
        if ready:
            yield ready
        time.sleep(poll_seconds)


def _scan(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every image."""
    states = {}
    for name in images_below(folder, "", Counter()):
        try:
            status = (folder / name).stat()
        except OSError:  # gone again
            continue
        states[str(folder / name)] = (status.st_size, status.st_mtime_ns)
    return states
