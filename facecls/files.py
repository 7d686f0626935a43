"""Files that are written whole or not at all, and over nothing else."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_path

from facecls.errors import RunError

_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "is the disk full?"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "may this account write there?"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "make its folder first, or name another"),
}


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Writes a file as `whole` does."""
    with whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is written beside, then renamed: a reader finds the old file or the new one, never a half.

    Raises RunError where that cannot be.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> RunError:
    """What is said of a file that the system does not let be written."""
    return RunError(f"{path}: cannot be written: {error.strerror}", hint=_HINTS.get(error.errno or 0, ""))


def check_output(path: Path, kind: str, beginning: bytes) -> None:
    """Makes the folder that a file is to lie in; whoever works long for the file calls it before that.

    Raises RunError where that cannot be, and where something would be written over that does not begin like its `kind`; a
    file that ends within the beginning, as an empty one does, is no loss.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be made: {error.strerror}", hint="name a file in another folder") from error
    try:
        if path.is_dir():
            raise RunError(f"{path}: is a folder", hint="name a file in it")
        if path.exists() and not (path.is_file() and beginning.startswith(_start(path, len(beginning)))):
            raise RunError(f"{path}: is there already, and is no {kind}", hint="name another file")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}", hint="name a file in another folder") from error


def _start(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def cache_folder(override: Path | None = None) -> Path:
    """`override`, or facecls's directory in the user's cache directory; it need not exist yet."""
    return override or user_cache_path("facecls", appauthor=False)
