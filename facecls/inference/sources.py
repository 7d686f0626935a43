"""Sources of image paths: command-line arguments, a pipe, a watched folder."""

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
_MAX_CHUNK = 4096  # paths per chunk of a pipe; large, because images are read ahead only within a chunk


def find_images(arguments: Iterable[str]) -> list[str]:
    """Expands files, folders and glob patterns to image paths, in order; a file is taken whatever its suffix.

    Raises DataError for a folder without images and for a pattern without a match.
    """
    found: list[str] = []
    for argument in arguments:
        path = Path(argument)
        # os.path, because Path raises for names that are too long and for files without permission
        is_folder = os.path.isdir(argument)  # noqa: PTH112
        if is_folder:
            images = [str(path / image) for image in images_below(path, "", Counter())]
        elif os.path.exists(argument) or not glob.has_magic(argument):  # noqa: PTH110
            images = [argument]
        else:
            images = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 -- Path.glob refuses absolute patterns
        if not images:
            problem = "contains no images" if is_folder else "no file matches this pattern"
            raise DataError(f"{argument}: {problem}", hint="pass images, folders of images, or patterns such as 'photos/*.jpg'")
        found += images
    return found


def read_paths(lines: TextIO) -> Iterator[list[str]]:
    """Yields paths from a pipe, one per line, in chunks of what has arrived, so that a slow pipe is processed without delay."""
    arrived: queue.Queue[str | None] = queue.Queue(2 * _MAX_CHUNK)

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
        chunk = [arrived.get()]
        while chunk[-1] is not None and len(chunk) < _MAX_CHUNK and not arrived.empty():
            chunk.append(arrived.get())
        ended = chunk[-1] is None
        paths = [path for path in chunk if path is not None]
        if paths:
            yield paths


def watch_folder(folder: Path, done: Collection[str] = (), poll_seconds: float = _POLL_SECONDS) -> Iterator[list[str]]:
    """Yields the images in a folder and its subfolders, then, without end, those that are added or changed.

    An image is yielded once its size and modification time are the same in two successive scans. Images in `done` that exist
    at the start are skipped until they change. Raises DataError if the folder does not exist.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 -- Path.is_dir raises for names that are too long
        raise DataError(f"{folder}: no such folder to watch", hint="create the folder first")
    current: dict[str, tuple[int, int]] = {}
    yielded = {path: state for path, state in _scan(folder).items() if path in done}
    while True:
        previous, current = current, _scan(folder)
        yielded = {path: state for path, state in yielded.items() if path in current}  # a deleted file may come back
        ready = [path for path, state in current.items() if previous.get(path) == state and yielded.get(path) != state]
        yielded |= {path: current[path] for path in ready}
        if ready:
            yield ready
        time.sleep(poll_seconds)


def _scan(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns (size in bytes, modification time in ns) of every image."""
    states = {}
    for name in images_below(folder, "", Counter()):
        try:
            status = (folder / name).stat()
        except OSError:  # deleted since it was listed
            continue
        states[str(folder / name)] = (status.st_size, status.st_mtime_ns)
    return states
